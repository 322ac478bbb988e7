//! The faults that a run injects. Each loss of a report or a message has to name one.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use crate::plan::{HOSTS, SERVICES};

#[derive(Clone, Debug)]
pub struct PlannedFault {
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The host ends without a warning, and comes back.
    Crash(&'static str),
    /// Messages between the hosts are lost.
    Partition(&'static str, &'static str),
    /// Messages between the hosts wait.
    Hold(&'static str, &'static str),
    /// Messages between the hosts take this long.
    Slow(&'static str, &'static str, Duration),
    /// Each message breaks its link with some probability.
    Flaky(f64),
    /// The clock of the host jumps forward.
    Jump(&'static str, Duration),
}

impl Fault {
    /// Returns whether the fault can disturb `host`.
    pub fn touches(&self, host: &str) -> bool {
        match self {
            Self::Crash(a) | Self::Jump(a, _) => *a == host,
            Self::Partition(a, b) | Self::Hold(a, b) | Self::Slow(a, b, _) => {
                *a == host || *b == host
            }
            Self::Flaky(_) => true,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(host) => write!(f, "crash of {host}"),
            Self::Partition(a, b) => write!(f, "partition of {a} and {b}"),
            Self::Hold(a, b) => write!(f, "messages of {a} and {b} held"),
            Self::Slow(a, b, by) => write!(f, "slow link of {a} and {b}, {} ms", by.as_millis()),
            Self::Flaky(rate) => write!(f, "flaky network, {rate}"),
            Self::Jump(host, by) => write!(f, "clock of {host} jumps {} ms", by.as_millis()),
        }
    }
}

impl PlannedFault {
    pub fn random(dice: &mut SmallRng) -> Self {
        let host = |dice: &mut SmallRng| *HOSTS[1..].choose(dice).expect("five");
        let pairs = [
            ("page", "storefront"),
            ("storefront", "kitchen"),
            ("storefront", "queue"),
            ("queue", "courier"),
            ("storefront", "tracker"),
            ("kitchen", "tracker"),
            ("courier", "tracker"),
            ("page", "tracker"),
        ];
        let (a, b) = *pairs.choose(dice).expect("eight");
        let fault = match dice.random_range(0..10) {
            0..4 => Fault::Crash(host(dice)),
            4 => Fault::Partition(a, b),
            5 => Fault::Hold(a, b),
            6 => Fault::Slow(a, b, Duration::from_millis(dice.random_range(100..1000))),
            7 => Fault::Flaky(dice.random_range(0.002..0.03)),
            _ => Fault::Jump(
                SERVICES.choose(dice).expect("three"),
                Duration::from_millis(dice.random_range(100..10_000)),
            ),
        };
        Self {
            at: Duration::from_millis(dice.random_range(100..4000)),
            lasts: Duration::from_millis(dice.random_range(50..2500)),
            fault,
        }
    }
}
