//! The cost of shared memory on two cores, measured, and on 64 cores, from a model.
//!
//! Two cores that write the same cache line take turns: the line moves from one to the other. [`turn`]
//! measures the time of one turn. The model is a queue in front of each shared line: a request works for
//! itself, waits for its turn at each line that it writes, and returns at once as the next request. Mean value
//! analysis (Reiser and Lavenberg, 1980) gives the time of a request for any number of cores.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

const WRITES: u32 = 1_000_000;
const ROUNDS: usize = 15;

/// Two lines in length, since processors fetch lines in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// The nanoseconds of an atomic write: on a core that has the line for itself, and on two cores that write
/// the same line, where each write stands for one turn.
pub(crate) fn write_alone() -> f64 {
    median(|| {
        let line = Line::default();
        nanoseconds_of(&[&line])
    })
}

/// See [`write_alone`].
pub(crate) fn turn() -> f64 {
    median(|| {
        let line = Line::default();
        nanoseconds_of(&[&line, &line])
    })
}

/// The nanoseconds per write to a line, by threads that write one line each, all at the same time.
fn nanoseconds_of(lines: &[&Line]) -> f64 {
    let barrier = &Barrier::new(lines.len());
    let times: Vec<f64> = thread::scope(|scope| {
        let run = |line: &'_ Line| {
            barrier.wait();
            let start = Instant::now();
            for _ in 0..WRITES {
                black_box(line.0.fetch_add(1, Relaxed));
            }
            let took = start.elapsed().as_secs_f64() * 1e9;
            // The line has the writes of all threads, until this thread ended.
            let written = u32::try_from(line.0.load(Relaxed)).expect("some millions");
            took / f64::from(written)
        };
        let threads: Vec<_> = lines.iter().map(|line| scope.spawn(move || run(line))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it only counts")).collect()
    });
    // The thread that ends last may have had the line for itself at its end.
    times.into_iter().fold(f64::INFINITY, f64::min)
}

fn median(measure: impl Fn() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// A request as the model sees it.
pub(crate) struct Work<'a> {
    /// The nanoseconds that a core works by itself.
    pub(crate) alone: f64,
    /// The writes to each shared line.
    pub(crate) lines: &'a [f64],
}

impl Work<'_> {
    /// The nanoseconds that a request waits for lines if `cores` cores serve such requests without a pause,
    /// and a turn takes `turn` nanoseconds.
    pub(crate) fn waits(&self, cores: u32, turn: f64) -> f64 {
        // A core that wrote the line last has it still.
        let moves = f64::from(cores - 1) / f64::from(cores);
        let demands: Vec<f64> = self.lines.iter().map(|writes| writes * turn * moves).collect();
        let mut queues = vec![0.0; demands.len()];
        let mut waited = 0.0;
        for served in 1..=cores {
            let times: Vec<f64> =
                demands.iter().zip(&queues).map(|(demand, queue)| demand * (1.0 + queue)).collect();
            waited = times.iter().sum();
            let rate = f64::from(served) / (self.alone + waited);
            queues = times.iter().map(|time| rate * time).collect();
        }
        waited
    }

    /// The most requests per second that any number of cores can serve: the line with the most writes is
    /// never idle then.
    pub(crate) fn most_per_second(&self, turn: f64) -> Option<f64> {
        let most = self.lines.iter().copied().fold(0.0, f64::max);
        (most > 0.0).then(|| 1e9 / (most * turn))
    }
}
