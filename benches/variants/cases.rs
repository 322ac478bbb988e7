//! The kinds of requests and services that the benches measure.

use sentry::Hub;

use super::sentry_client::{Rate, with_transactions};

/// One kind of request, with its inner service and its surroundings.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each a fact of its own
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The request has a valid ID. Else the layers generate one.
    pub(crate) reads: bool,
    /// A Sentry client with a no-op transport is bound. Else there is no client.
    pub(crate) sentry: bool,
    /// The share of performance transactions that the client sends. If it is set, the layers that can
    /// make a performance transaction of each request do so.
    pub(crate) transactions: Option<Rate>,
    pub(crate) headers: Headers,
    /// Tags on the hub that the layers find.
    pub(crate) parent_tags: u32,
    /// The layers run under a hub that was switched to, as an outer `NewSentryLayer` does.
    pub(crate) outer_hub: bool,
    /// The inner service captures an event.
    pub(crate) captures: bool,
    /// How often the inner future is pending before it answers.
    pub(crate) pending: u32,
    /// The data frames of the response's body.
    pub(crate) frames: u32,
    /// After its frames, the body of the response is pending and never ends.
    pub(crate) stays_open: bool,
}

/// The headers of a request, without the header of the ID.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Headers {
    /// Four headers leave room for one more. With 3, 6, 12 or 24 headers, the table that hyper reserves
    /// is full, and the next header costs two allocations for a larger table.
    Four,
    /// The four and the two headers of a body. All headers that events show by default are among them.
    Six,
    /// The headers of a browser.
    Seventeen,
    /// The six and a cookie of this many bytes, all in one buffer, as hyper reads them.
    Large(usize),
}

const BASE: Case = Case {
    name: "generate, on",
    reads: false,
    sentry: true,
    transactions: None,
    headers: Headers::Four,
    parent_tags: 0,
    outer_hub: false,
    captures: false,
    pending: 0,
    frames: 1,
    stays_open: false,
};

impl Case {
    pub(crate) const GENERATE_ON: Self = BASE;
    pub(crate) const READ_ON: Self = Self { name: "read, on", reads: true, ..BASE };
    pub(crate) const GENERATE_OFF: Self = Self { name: "generate, off", sentry: false, ..BASE };
    pub(crate) const READ_OFF: Self =
        Self { name: "read, off", reads: true, sentry: false, ..BASE };

    /// The cases that have targets.
    pub(crate) const MAIN: [Self; 4] =
        [Self::GENERATE_ON, Self::READ_ON, Self::GENERATE_OFF, Self::READ_OFF];

    pub(crate) const SIX_GENERATE: Self =
        Self { name: "generate, six headers", headers: Headers::Six, ..BASE };
    pub(crate) const SIX_READ: Self =
        Self { name: "read, six headers", reads: true, ..Self::SIX_GENERATE };
    pub(crate) const SIX: [Self; 2] = [Self::SIX_GENERATE, Self::SIX_READ];

    /// Each request is a performance transaction. The client sends all or a hundredth of them.
    pub(crate) const TRANSACTIONS: [Self; 2] = [
        Self { name: "transactions, rate 1.0", transactions: Some(Rate::All), ..BASE },
        Self { name: "transactions, rate 0.01", transactions: Some(Rate::Hundredth), ..BASE },
    ];

    pub(crate) const SIXTEEN_POLLS: Self =
        Self { name: "16 pending polls", pending: 16, ..Self::GENERATE_ON };
    pub(crate) const CAPTURES: Self =
        Self { name: "captures an event", captures: true, ..Self::GENERATE_ON };

    /// Requests whose handler never answers.
    pub(crate) const WAITING: [Self; 6] = [
        Self { name: "waiting, generate, on", pending: u32::MAX, ..Self::GENERATE_ON },
        Self { name: "waiting, read, on", pending: u32::MAX, ..Self::READ_ON },
        Self { name: "waiting, generate, off", pending: u32::MAX, ..Self::GENERATE_OFF },
        Self { name: "waiting, read, off", pending: u32::MAX, ..Self::READ_OFF },
        Self { name: "waiting, generate, six headers", pending: u32::MAX, ..Self::SIX_GENERATE },
        Self { name: "waiting, read, six headers", pending: u32::MAX, ..Self::SIX_READ },
    ];

    /// Streaming responses to requests with many and with few bytes of headers.
    pub(crate) const STREAMS: [Self; 4] = [
        Self::open_stream("open stream, generate, 3 KB of headers", false, 3 << 10),
        Self::open_stream("open stream, read, 3 KB of headers", true, 3 << 10),
        Self::open_stream("open stream, generate, 20 KB of headers", false, 20 << 10),
        Self::open_stream("open stream, read, 20 KB of headers", true, 20 << 10),
    ];

    const fn open_stream(name: &'static str, reads: bool, cookie: usize) -> Self {
        Self { name, reads, headers: Headers::Large(cookie), stays_open: true, ..BASE }
    }

    /// A body of 101 frames. Its cost less that of one frame is the cost of a hundred frames.
    pub(crate) const FRAMES_ON: Self =
        Self { name: "101 frames, on", frames: 101, ..Self::READ_ON };
    pub(crate) const FRAMES_OFF: Self =
        Self { name: "101 frames, off", frames: 101, ..Self::READ_OFF };

    /// More kinds of requests.
    pub(crate) const MORE: [Self; 11] = [
        Self { name: "outer hub", outer_hub: true, ..BASE },
        Self { name: "8 parent tags", parent_tags: 8, ..BASE },
        Self { name: "17 headers", headers: Headers::Seventeen, ..BASE },
        Self { name: "17 headers, off", headers: Headers::Seventeen, sentry: false, ..BASE },
        Self::CAPTURES,
        Self { name: "pending once", pending: 1, ..BASE },
        Self { name: "pending 20 times", pending: 20, ..BASE },
        Self { name: "100 frames", frames: 100, ..BASE },
        Self { name: "100 frames, off", frames: 100, sentry: false, ..BASE },
        Self { name: "10,000 frames", frames: 10_000, ..BASE },
        Self { name: "10,000 frames, off", frames: 10_000, sentry: false, ..BASE },
    ];

    /// Whether the request's header table has room for the header of a generated ID.
    pub(crate) fn has_room(&self) -> bool {
        self.reads || !matches!(self.headers, Headers::Six)
    }

    /// Runs `f` on a thread of its own, whose hub comes from the main one as in a server, with
    /// the client and the tags of this case.
    pub(crate) fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|threads| {
            let thread = threads.spawn(|| {
                self.prepare_hub();
                if self.outer_hub {
                    Hub::run(Hub::new_from_top(Hub::current()).into(), f)
                } else {
                    f()
                }
            });
            thread.join().expect("a case ran to its end")
        })
    }

    fn prepare_hub(&self) {
        let hub = Hub::current();
        if !self.sentry {
            hub.bind_client(None);
        } else if let Some(rate) = self.transactions {
            hub.bind_client(Some(with_transactions(rate)));
        }
        hub.configure_scope(|scope| {
            for number in 0..self.parent_tags {
                scope.set_tag(&format!("parent-{number}"), number);
            }
        });
    }
}
