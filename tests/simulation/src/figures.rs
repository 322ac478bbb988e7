//! Counts what happened in a run, since a run in which little happens proves little.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::ledger::Ledger;
use crate::world::World;

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub BTreeMap<String, usize>);

impl Figures {
    fn count(&mut self, what: impl Into<String>, times: usize) {
        *self.0.entry(what.into()).or_default() += times;
    }
}

impl AddAssign<&Figures> for Figures {
    fn add_assign(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.count(what.clone(), *times);
        }
    }
}

/// Counts what happened in a run.
pub fn count(world: &World, ledger: &Ledger, faults: impl Iterator<Item = String>) -> Figures {
    let mut figures = Figures::default();
    figures.count("calm runs", world.plan.is_calm().into());
    for fault in faults {
        let name = fault.split(' ').next().unwrap_or_default();
        figures.count(format!("fault: {name}"), 1);
    }
    figures.0.extend([
        ("orders".to_owned(), world.plan.orders.len()),
        ("answers".to_owned(), ledger.answers.len()),
    ]);
    for order in &world.plan.orders {
        let sends = format!("{:?}", order.sends);
        let kind = sends.split('(').next().unwrap_or_default();
        figures.count(format!("orders with an ID: {kind}"), 1);
    }
    for visit in &ledger.visits {
        figures.count(format!("visits: {}", visit.process), 1);
    }
    for parcel in ledger.parcels.values() {
        for item in &parcel.sent {
            let is_line = if item.is_line { "line" } else { "report" };
            figures.count(format!("{is_line}: {} of {}", item.label, parcel.process), 1);
        }
        let upstream = parcel.sent.iter().filter(|item| item.upstream.is_some());
        figures.count("reports with an upstream ID", upstream.count());
        match (&parcel.arrived, &parcel.lost) {
            (Some(items), _) => figures.count("reports that arrived", items.len()),
            (None, lost) => {
                figures.count("reports that were lost", parcel.sent.len());
                let how = lost.as_deref().unwrap_or_default().split(':').next().unwrap_or_default();
                figures.count(format!("lost: {how}"), parcel.sent.len());
            }
        }
    }
    figures.count("messages: lost", ledger.lost_messages.len());
    figures.count("messages: delivered", ledger.deliveries.len());
    figures
        .count("messages: twice", ledger.deliveries.values().filter(|times| **times > 1).count());
    figures
}
