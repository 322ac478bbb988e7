//! Compares the reports with the ledger, at the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use crate::figures::{self, Figures};
use crate::ledger::{Key, Ledger, ParcelRecord, VisitRecord};
use crate::page::trace_of;
use crate::parcel::Item;
use crate::plan::{Order, SERVICES};
use crate::visit::visitor;
use crate::world::World;

/// Checks all claims, and returns the figures of the run.
pub fn check(world: &World) -> Figures {
    let (violations, figures) = {
        let state = world.state();
        let mut checker = Checker { world, ledger: &state.ledger, violations: Vec::new() };
        checker.reports_are_the_expected_ones();
        checker.parcels_arrive_or_have_a_fault();
        checker.items_belong_to_their_visit();
        checker.stories_have_one_id();
        checker.stories_have_one_trace();
        checker.answers_name_the_id();
        checker.messages_are_delivered(state.shelf.count());
        let faults = state.faults.iter().map(|window| window.fault.to_string());
        (checker.violations, figures::count(world, &state.ledger, faults))
    };
    for violation in violations {
        world.violation(violation);
    }
    figures
}

struct Checker<'a> {
    world: &'a World,
    ledger: &'a Ledger,
    violations: Vec<String>,
}

impl<'a> Checker<'a> {
    fn check(&mut self, holds: bool, claim: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(claim());
        }
    }

    /// Returns all reports, with the parcel of each: as they arrived or, if they did not, as they were sent.
    fn items(&self) -> impl Iterator<Item = (&'a str, &'a ParcelRecord, &'a Item)> + use<'a> {
        let parcels = self.ledger.parcels.iter();
        parcels.flat_map(|(name, parcel)| {
            let items = parcel.arrived.as_ref().unwrap_or(&parcel.sent);
            items.iter().map(move |item| (name.as_str(), parcel, item))
        })
    }

    fn order(&self, key: Key) -> &'a Order {
        &self.world.plan.orders[key.order as usize - 1]
    }

    /// Each service has reported all that it wrote down, and nothing twice.
    fn reports_are_the_expected_ones(&mut self) {
        let mut sent: BTreeMap<(usize, String), usize> = BTreeMap::new();
        let mut unbound: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for (_, parcel, item) in self.items() {
            *match item.serial {
                Some(serial) => sent.entry((serial, item.label.clone())).or_default(),
                None => unbound.entry((parcel.process, item.label.clone())).or_default(),
            } += 1;
        }
        let expected = &self.ledger.expected;
        let keys: BTreeSet<_> = sent.keys().chain(expected.keys()).collect();
        for of @ (serial, label) in keys {
            let counts =
                [&sent, expected].map(|counts| counts.get(of).copied().unwrap_or_default());
            let visit = &self.ledger.visits[*serial];
            self.check(counts[0] == counts[1], || {
                let VisitRecord { process, key, .. } = visit;
                format!(
                    "{process} reported [{label}] of {key} {} times, not {}",
                    counts[0], counts[1]
                )
            });
        }
        let keys: BTreeSet<_> = unbound.keys().chain(self.ledger.unbound.keys()).cloned().collect();
        for of in keys {
            let counts = [&unbound, &self.ledger.unbound]
                .map(|counts| counts.get(&of).copied().unwrap_or_default());
            let (process, label) = of;
            self.check(counts[0] == counts[1], || {
                format!(
                    "{process} reported [{label}] of no order {} times, not {}",
                    counts[0], counts[1]
                )
            });
        }
    }

    fn parcels_arrive_or_have_a_fault(&mut self) {
        for (name, parcel) in &self.ledger.parcels {
            match &parcel.arrived {
                Some(arrived) => {
                    self.check(*arrived == parcel.sent, || format!("{name} changed on its way"));
                }
                None => {
                    self.check(parcel.lost.is_some(), || format!("{name} is lost without a fault"));
                }
            }
            let is_calm = self.world.plan.is_calm();
            self.check(!(is_calm && parcel.lost.is_some()), || {
                format!("{name} is lost in a calm run")
            });
        }
    }

    fn items_belong_to_their_visit(&mut self) {
        for (name, parcel, item) in self.items() {
            let expected = match item.serial.map(|serial| &self.ledger.visits[serial]) {
                Some(visit) => self.expected_item(visit, item),
                // Outside of any visit, nothing of an order is on a report.
                None => Item {
                    process: Some(parcel.process.to_owned()),
                    label: item.label.clone(),
                    trace: item.trace.clone(),
                    ..Item::default()
                },
            };
            self.check(expected.process.as_deref() == Some(parcel.process), || {
                format!("{name}: {item} was sent by {}", parcel.process)
            });
            self.check(*item == expected, || format!("{name}: {item:?} should be {expected:?}"));
            if let Some(key) = item.key {
                let own = [format!("{key} "), format!("/{}/{}", key.order, key.attempt)];
                for crumb in &item.breadcrumbs {
                    let is_own = crumb.starts_with(&own[0])
                        || crumb.ends_with(&own[1])
                        || crumb.contains(&format!("{}/", own[1]));
                    self.check(is_own, || format!("{name}: {item} has the breadcrumb {crumb:?}"));
                }
            }
        }
    }

    /// Returns `item` as it has to be in `visit`.
    fn expected_item(&self, visit: &VisitRecord, item: &Item) -> Item {
        let settings = &self.world.plan.settings;
        let at = SERVICES.iter().position(|service| *service == visit.process);
        // Without the integration, logs and metrics have no ID.
        let has_id = !item.is_line || at.is_some_and(|at| settings.integrates[at]);
        let order = self.order(visit.key);
        let is_refused = at == Some(0) && !item.is_line && !order.is_trusted(settings.trust);
        let upstream = if is_refused { order.sends.valid() } else { None };
        let has_user = !item.is_line && at.is_some();
        Item {
            process: Some(visit.process.to_owned()),
            key: Some(visit.key),
            requested: item.requested.map(|_| visit.key),
            id: has_id.then(|| visit.id.clone()),
            upstream: upstream.map(str::to_owned),
            user: has_user.then(|| visitor(visit.key)),
            is_of_task: item.label.starts_with("task: ") && !item.is_line,
            ..item.clone()
        }
    }

    /// All visits of an attempt of an order have one ID: the ID of the page, if it is valid and trusted, or
    /// else one that the storefront generated for this attempt.
    fn stories_have_one_id(&mut self) {
        let mut ids: BTreeMap<Key, &str> = BTreeMap::new();
        for visit in &self.ledger.visits {
            if visit.process == "storefront" {
                let other = ids.insert(visit.key, &visit.id);
                self.check(other.is_none(), || {
                    format!("{} came twice to the storefront", visit.key)
                });
            }
        }
        for visit in &self.ledger.visits {
            let VisitRecord { process, key, id } = visit;
            let order = self.order(*key);
            let Some(story) = ids.get(key) else {
                let is_own = *process == "page" && order.sends.valid() == Some(id);
                self.check(is_own, || format!("{process} knows {key}, which nobody took"));
                continue;
            };
            let is_unanswered = *process == "page" && !self.ledger.answers.contains_key(key);
            let expected =
                if is_unanswered { order.sends.valid().unwrap_or_default() } else { story };
            self.check(id == expected, || format!("{key} is {id} at {process}, not {expected}"));
        }
        for (key, id) in &ids {
            let order = self.order(*key);
            let kept =
                order.sends.valid().filter(|_| order.is_trusted(self.world.plan.settings.trust));
            let generated = self.ledger.generated.get(*id);
            self.check(
                kept.map_or(generated == Some(&("storefront", Some(*key))), |kept| kept == *id),
                || format!("{key} has {id}, and the page sent {:?}", order.sends),
            );
        }
        for (id, (process, key)) in &self.ledger.generated {
            let is_used = key.is_some_and(|key| ids.get(&key) == Some(&id.as_str()));
            self.check(is_used, || format!("{process} generated {id} for {key:?}, in vain"));
        }
    }

    /// All reports of an attempt are in one trace: the page's, if it sent one and is trusted, or else one of
    /// the attempt's own.
    fn stories_have_one_trace(&mut self) {
        let mut traces: BTreeMap<Key, (&str, String)> = BTreeMap::new();
        let mut owners: BTreeMap<&str, String> = BTreeMap::new();
        for (name, parcel, item) in self.items() {
            let (Some(trace), process) = (item.trace.as_deref(), parcel.process) else {
                self.check(parcel.process == "page", || format!("{name}: {item} has no trace"));
                continue;
            };
            let owner = match item.key {
                Some(key) => {
                    let at = SERVICES.iter().position(|service| *service == process);
                    let settings = &self.world.plan.settings;
                    // Without the integration, a line is in the trace of the process.
                    if item.is_line && !at.is_some_and(|at| settings.integrates[at]) {
                        continue;
                    }
                    let order = self.order(key);
                    let continues = order.traces && order.is_trusted(settings.trust);
                    if process == "page" && !continues {
                        continue;
                    }
                    if continues {
                        let expected = trace_of(self.world, key.order);
                        self.check(trace == expected, || {
                            format!("{name}: {item} is in the trace {trace}, not in the page's {expected}")
                        });
                    }
                    let first = traces.entry(key).or_insert((trace, item.to_string())).clone();
                    self.check(first.0 == trace, || {
                        format!(
                            "{name}: {item} is in the trace {trace}, and {} in {}",
                            first.1, first.0
                        )
                    });
                    if continues { format!("#{}", key.order) } else { key.to_string() }
                }
                None => format!("{process}, outside of any order"),
            };
            let other = owners.entry(trace).or_insert_with(|| owner.clone()).clone();
            self.check(
                other == owner || other.contains("outside") && owner.contains("outside"),
                || format!("{name}: {item} shares a trace with {other}"),
            );
        }
    }

    fn answers_name_the_id(&mut self) {
        for (key, answer) in &self.ledger.answers {
            let visits = self.ledger.visits.iter();
            let visit = visits.clone().find(|v| v.process == "storefront" && v.key == *key);
            let expected = visit.map(|visit| vec![visit.id.clone()]);
            self.check(expected.as_ref() == Some(&answer.ids), || {
                format!("{key} was answered under {:?}, and its ID is {expected:?}", answer.ids)
            });
        }
    }

    fn messages_are_delivered(&mut self, count: u64) {
        for number in 1..=count {
            let is_lost = self.ledger.lost_messages.contains_key(&number);
            let is_delivered = self.ledger.deliveries.contains_key(&number);
            self.check(is_lost != is_delivered, || {
                format!("message {number} is lost without a fault")
            });
        }
    }
}
