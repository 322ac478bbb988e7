//! Allocations of a subject, counted exactly.

use std::alloc::System;
use std::convert::Infallible;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use stats_alloc::{Region, StatsAlloc};
use tower::Service;

use super::exchange::{MakeRequest, NoBody};
use super::{Case, Subject, Visit};

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

/// The bytes that a request holds while its handler waits: its future, put into a box, and what
/// that points to.
pub(crate) struct BytesInFlight<'a> {
    pub(crate) counting: &'a StatsAlloc<System>,
    pub(crate) case: &'a Case,
}

impl Visit for BytesInFlight<'_> {
    type Output = f64;

    fn visit<S, B>(self, service: &S) -> f64
    where
        S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        B: Body<Data = Bytes, Error = Infallible>,
    {
        let mut service = service.clone();
        let make = MakeRequest::new(self.case);
        let mut held = Vec::with_capacity(REQUESTS as usize);
        let region = Region::new(self.counting);
        for _ in 0..REQUESTS {
            let mut future = Box::pin(service.call(make.request()));
            let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "the case is one that waits");
            held.push(future);
        }
        let change = region.change();
        let bytes = change.bytes_allocated.saturating_add_signed(change.bytes_reallocated)
            - change.bytes_deallocated;
        f64::from(u32::try_from(bytes).expect("a few bytes")) / f64::from(REQUESTS)
    }
}
