//! Allocations of a subject, counted exactly.

use std::alloc::System;

use stats_alloc::{Region, StatsAlloc};

use super::Subject;

const REQUESTS: u32 = 100;

/// Allocations per request, those that move a buffer included. The lowest of three counts: a
/// thread of Sentry's may allocate meanwhile.
pub(crate) fn allocations(counting: &StatsAlloc<System>, subject: &mut Subject) -> f64 {
    let counts = [(); 3].map(|()| {
        subject();
        let region = Region::new(counting);
        for _ in 0..REQUESTS {
            subject();
        }
        let change = region.change();
        change.allocations + change.reallocations
    });
    let lowest = counts.into_iter().min().unwrap_or_default();
    f64::from(u32::try_from(lowest).expect("a few allocations")) / f64::from(REQUESTS)
}
