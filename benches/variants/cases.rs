//! What a request and its service are like.

use sentry::Hub;

/// One kind of request, of inner service and of surroundings.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each a fact of its own
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The request brings a valid ID; else one is generated.
    pub(crate) reads: bool,
    /// A client with a no-op transport is bound; else there is none.
    pub(crate) sentry: bool,
    /// The headers that a browser sends, in place of four.
    pub(crate) browser: bool,
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
}

const BASE: Case = Case {
    name: "generate, on",
    reads: false,
    sentry: true,
    browser: false,
    parent_tags: 0,
    outer_hub: false,
    captures: false,
    pending: 0,
    frames: 1,
};

impl Case {
    pub(crate) const GENERATE_ON: Self = BASE;
    pub(crate) const READ_ON: Self = Self { name: "read, on", reads: true, ..BASE };
    pub(crate) const GENERATE_OFF: Self = Self { name: "generate, off", sentry: false, ..BASE };
    pub(crate) const READ_OFF: Self =
        Self { name: "read, off", reads: true, sentry: false, ..BASE };

    /// The four that the targets are set for.
    pub(crate) const MAIN: [Self; 4] =
        [Self::GENERATE_ON, Self::READ_ON, Self::GENERATE_OFF, Self::READ_OFF];

    /// A body of 101 frames: less one of 1, it tells what a frame costs.
    pub(crate) const FRAMES_ON: Self =
        Self { name: "101 frames, on", frames: 101, ..Self::READ_ON };
    pub(crate) const FRAMES_OFF: Self =
        Self { name: "101 frames, off", frames: 101, ..Self::READ_OFF };

    /// What else a request may meet.
    pub(crate) const MORE: [Self; 11] = [
        Self { name: "outer hub", outer_hub: true, ..BASE },
        Self { name: "8 parent tags", parent_tags: 8, ..BASE },
        Self { name: "17 headers", browser: true, ..BASE },
        Self { name: "17 headers, off", browser: true, sentry: false, ..BASE },
        Self { name: "captures an event", captures: true, ..BASE },
        Self { name: "pending once", pending: 1, ..BASE },
        Self { name: "pending 20 times", pending: 20, ..BASE },
        Self { name: "100 frames", frames: 100, ..BASE },
        Self { name: "100 frames, off", frames: 100, sentry: false, ..BASE },
        Self { name: "10,000 frames", frames: 10_000, ..BASE },
        Self { name: "10,000 frames, off", frames: 10_000, sentry: false, ..BASE },
    ];

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
        }
        hub.configure_scope(|scope| {
            for number in 0..self.parent_tags {
                scope.set_tag(&format!("parent-{number}"), number);
            }
        });
    }
}
