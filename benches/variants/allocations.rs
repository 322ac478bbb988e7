//! Allocations of a subject, counted exactly.

use std::alloc::System;
use std::convert::Infallible;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use stats_alloc::{Region, StatsAlloc};
use tower::Service;

use super::exchange::{MakeRequest, NoBody};
use super::{Case, Subject, Variant, Visit, with_service};

const REQUESTS: u32 = 100;

/// Allocations per request, including reallocations. Takes the lowest of twenty counts, since a thread of
/// Sentry's may allocate at the same time.
pub(crate) fn allocations(counting: &StatsAlloc<System>, subject: &mut Subject) -> f64 {
    let counts = [(); 20].map(|()| {
        subject.serve(1);
        let region = Region::new(counting);
        subject.serve(REQUESTS);
        let change = region.change();
        change.allocations + change.reallocations
    });
    let lowest = counts.into_iter().min().unwrap_or_default();
    f64::from(u32::try_from(lowest).expect("a few allocations")) / f64::from(REQUESTS)
}

/// The bytes that a request of `case` holds while it waits: those of its future in a box and of all
/// memory that the future points to. If the future is ready, those of the response's body instead.
pub(crate) fn bytes_held(counting: &StatsAlloc<System>, variant: Variant, case: &Case) -> f64 {
    let weigh = BytesHeld { counting, case };
    case.run(|| with_service(variant, case, weigh).round())
}

struct BytesHeld<'a> {
    counting: &'a StatsAlloc<System>,
    case: &'a Case,
}

impl Visit for BytesHeld<'_> {
    type Output = f64;

    fn visit<S, B>(self, service: &S) -> f64
    where
        S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        B: Body<Data = Bytes, Error = Infallible>,
    {
        let mut service = service.clone();
        let make = MakeRequest::new(self.case);
        let mut cx = Context::from_waker(Waker::noop());
        let mut futures = Vec::with_capacity(REQUESTS as usize);
        let mut bodies = Vec::with_capacity(REQUESTS as usize);
        let region = Region::new(self.counting);
        for _ in 0..REQUESTS {
            let mut future = Box::pin(service.call(make.request()));
            let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) else {
                futures.push(future);
                continue;
            };
            drop(future);
            let mut body = Box::pin(response.into_body());
            while let Poll::Ready(frame) = body.as_mut().poll_frame(&mut cx) {
                frame.expect("the case is one that waits").expect("a body without errors");
            }
            bodies.push(body);
        }
        let change = region.change();
        let bytes = change.bytes_allocated.saturating_add_signed(change.bytes_reallocated)
            - change.bytes_deallocated;
        f64::from(u32::try_from(bytes).expect("a few bytes")) / f64::from(REQUESTS)
    }
}
