//! Decides from the seed all that comes from outside: the orders, the faults and the settings.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::faults::PlannedFault;

/// The hosts. The first is the page, which is never crashed.
pub const HOSTS: [&str; 6] = ["page", "storefront", "kitchen", "queue", "courier", "tracker"];

/// The hosts that report to the tracker with Sentry's SDK.
pub const SERVICES: [&str; 3] = ["storefront", "kitchen", "courier"];

/// The delay of most messages on the network.
pub const LATENCY: Duration = Duration::from_millis(20);

/// Makes random numbers for one purpose. Each purpose has numbers of its own, so that a change of one
/// leaves the others alone.
pub fn dice(seed: u64, purpose: &str, number: u64) -> SmallRng {
    // FNV-1a
    let bytes = purpose.bytes().chain(number.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    SmallRng::seed_from_u64(seed ^ hash)
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub settings: Settings,
    pub orders: Vec<Order>,
    /// By time.
    pub faults: Vec<PlannedFault>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub trust: WhomToTrust,
    /// Which services measure performance.
    pub measures: [bool; 3],
    /// Which services have the integration, which puts the ID on logs and metrics.
    pub integrates: [bool; 3],
    /// The probability with which the queue hands a message out twice at once.
    pub duplicates: f64,
    /// The probability with which the queue loses a message.
    pub losses: f64,
    /// Whether turmoil ticks the hosts in a random order.
    pub random_order: bool,
}

/// The callers whose IDs the storefront keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WhomToTrust {
    All,
    None,
    /// Only those with the header `x-partner`.
    Partners,
}

#[derive(Clone, Debug)]
pub struct Order {
    pub number: u32,
    pub at: Duration,
    pub dog: Dog,
    pub sends: SentId,
    /// Whether the page sends a `sentry-trace`.
    pub traces: bool,
    pub is_partner: bool,
    /// The time after which the visitor leaves.
    pub patience: Duration,
    /// The number of lines of a streamed answer after which the visitor leaves.
    pub lines: Option<usize>,
    /// How often the page tries.
    pub attempts: u32,
}

impl Order {
    pub fn is_trusted(&self, trust: WhomToTrust) -> bool {
        match trust {
            WhomToTrust::All => true,
            WhomToTrust::None => false,
            WhomToTrust::Partners => self.is_partner,
        }
    }
}

/// The value of `X-Transaction-ID` that the page sends.
#[derive(Clone, Debug)]
pub enum SentId {
    Valid(String),
    /// The same valid value in two lines.
    Twice(String),
    Missing,
    Invalid(&'static str),
    /// Two lines that differ.
    Differing(String),
}

impl SentId {
    /// Returns the lines of the header.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Valid(id) => vec![id.clone()],
            Self::Twice(id) => vec![id.clone(), id.clone()],
            Self::Missing => Vec::new(),
            Self::Invalid(value) => vec![(*value).to_owned()],
            Self::Differing(id) => vec![id.clone(), format!("{id}-other")],
        }
    }

    /// Returns the ID, if the lines are one valid ID.
    pub fn valid(&self) -> Option<&str> {
        match self {
            Self::Valid(id) | Self::Twice(id) => Some(id),
            Self::Missing | Self::Invalid(_) | Self::Differing(_) => None,
        }
    }
}

const HOSTILE: [&str; 7] = [
    "undefined",
    "<script>alert(1)</script>",
    "a b",
    "0",
    "../../etc/passwd",
    "\u{202e}gnp.dog",
    "' OR 1=1 --",
];

/// The kind of hot dog, which decides the course of the order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dog {
    /// Cooked and delivered.
    Classic,
    /// The kitchen captures an error.
    Artisanal,
    /// The kitchen panics.
    Chili,
    /// The kitchen answers 500, and captures nothing.
    Burnt,
    /// The storefront answers with a stream, whose body calls the kitchen.
    Grilled,
    /// As `Grilled`, but the kitchen fails.
    Charred,
    /// The kitchen takes too long for the storefront.
    Frozen,
    /// The kitchen measures the temperature in a thread.
    Probed,
    /// The storefront spawns tasks, which outlive the answer.
    Party,
    /// The courier fails, and captures nothing.
    Lunar,
    /// The courier captures an error, and fails.
    Upset,
    /// The courier panics, and the queue hands the message out again.
    Slippery,
    /// The storefront does not sell it.
    Unknown,
}

impl Dog {
    pub const ALL: [Self; 13] = [
        Self::Classic,
        Self::Artisanal,
        Self::Chili,
        Self::Burnt,
        Self::Grilled,
        Self::Charred,
        Self::Frozen,
        Self::Probed,
        Self::Party,
        Self::Lunar,
        Self::Upset,
        Self::Slippery,
        Self::Unknown,
    ];

    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Returns the dog of this name, if the shop sells it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dog| dog.name() == name && *dog != Self::Unknown)
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut dice = dice(seed, "plan", 0);
        let is_calm = dice.random_bool(0.2);
        let settings = Settings {
            trust: *[WhomToTrust::All, WhomToTrust::None, WhomToTrust::Partners]
                .choose(&mut dice)
                .expect("three"),
            measures: std::array::from_fn(|_| dice.random_bool(0.5)),
            integrates: std::array::from_fn(|_| dice.random_bool(0.75)),
            duplicates: if is_calm { 0.0 } else { dice.random_range(0.0..0.5) },
            losses: if !is_calm && dice.random_bool(0.3) { 0.2 } else { 0.0 },
            random_order: dice.random(),
        };
        let orders = (1..=dice.random_range(6..=14))
            .map(|number| Order::random(number, &mut dice))
            .collect::<Vec<_>>();
        let count = if is_calm { 0 } else { dice.random_range(1..=7) };
        let mut faults = (0..count).map(|_| PlannedFault::random(&mut dice)).collect::<Vec<_>>();
        faults.sort_by_key(|fault| fault.at);
        Self { seed, settings, orders, faults }
    }

    /// Returns whether the run has no fault.
    pub fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Order {
    fn random(number: u32, dice: &mut SmallRng) -> Self {
        let id = format!("page-{:08x}", dice.random::<u32>());
        let sends = match dice.random_range(0..10) {
            0..5 => SentId::Valid(id),
            5 => SentId::Twice(id),
            6..8 => SentId::Missing,
            8 => SentId::Invalid(HOSTILE.choose(dice).expect("seven")),
            _ => SentId::Differing(id),
        };
        Self {
            number,
            at: Duration::from_millis(dice.random_range(0..2500)),
            dog: *Dog::ALL.choose(dice).expect("a dozen"),
            sends,
            traces: dice.random_bool(0.3),
            is_partner: dice.random(),
            patience: Duration::from_millis(if dice.random_bool(0.25) {
                dice.random_range(20..800)
            } else {
                4000
            }),
            lines: dice.random_bool(0.25).then(|| dice.random_range(0..3)),
            attempts: dice.random_range(1..=2),
        }
    }
}
