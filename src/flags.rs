//! Classifies the bytes of a value. Every request is checked, so speed counts.

/// The flags of each byte.
pub(crate) type Table = [u8; 256];

/// Makes a table at compile time, from a `const` expression over the byte.
macro_rules! table {
    (|$byte:ident| $flags:expr) => {{
        let mut table = [0; 256];
        let mut $byte = u8::MAX;
        loop {
            table[$byte as usize] = $flags;
            let Some(next) = $byte.checked_sub(1) else { break table };
            $byte = next;
        }
    }};
}
pub(crate) use table;

/// Returns the flags that at least one byte of `value` has. The loop looks at eight bytes in each round,
/// with two instructions for a byte in place of five.
pub(crate) fn any(value: &[u8], table: &Table) -> u8 {
    let add = |flags, byte: &u8| flags | table[usize::from(*byte)];
    let (groups, rest) = value.as_chunks::<8>();
    let flags = groups.iter().fold(0, |flags, group| group.iter().fold(flags, add));
    rest.iter().fold(flags, add)
}
