//! Random numbers for IDs.
//!
//! The thread-local generator of the crate `rand` has a destructor, and panics in destructors that run
//! after its own. This buffer has none.

use std::cell::RefCell;

/// The bytes of one ID.
const ID: usize = 16;
/// The IDs that one system call serves.
const IDS: usize = 32;

struct Buffer {
    bytes: [u8; ID * IDS],
    /// How many of the bytes, from the start, are unused.
    left: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> =
        const { RefCell::new(Buffer { bytes: [0; ID * IDS], left: 0 }) };
}

/// Bytes from the generator of the operating system, each of which is used once.
pub(crate) fn bytes() -> [u8; ID] {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.left == 0 {
            getrandom::fill(&mut buffer.bytes).expect("the operating system has random numbers");
            buffer.left = buffer.bytes.len();
        }
        let (rest, last) = buffer.bytes[..buffer.left].split_last_chunk().expect("whole IDs");
        buffer.left = rest.len();
        *last
    })
}
