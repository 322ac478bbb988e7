//! Provides random numbers for IDs.
//!
//! The thread-local generator of the crate `rand` has a destructor, and panics if it is used after that
//! destructor ran. The buffer in this file has no destructor, and works until the thread is gone.

use std::cell::RefCell;

/// The number of bytes of one ID.
const ID: usize = 16;
/// The number of IDs that one system call serves.
const IDS: usize = 32;

struct Buffer {
    bytes: [u8; ID * IDS],
    /// The number of bytes, from the start, that are unused.
    left: usize,
}

thread_local! {
    static BUFFER: RefCell<Buffer> =
        const { RefCell::new(Buffer { bytes: [0; ID * IDS], left: 0 }) };
}

/// Returns bytes from the generator of the operating system. Each byte is used once.
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
