//! Where a message that is too long is cut, and the mark that says so.
//!
//! In: a body, how long its line was, the room there is. Out: how many bytes stay, and what follows them, e.g.
//! ` [cut: 12345 bytes]`: the number of bytes of the line that are missing.
//!
//! What always holds: body and mark take no more than the room; no UTF-8 sequence is cut in two; whatever is missing is
//! marked, unless there is not even room for the mark.

/// What framing puts in place of a delimiter inside a message takes this many bytes, e.g. `#012`.
pub const ESCAPE_LEN: usize = 4;

/// Where a body is cut, and what stands in place of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many bytes of the body stay.
    pub keep: usize,
    /// What follows them; empty if there is no room for it.
    pub mark: String,
}

/// Cuts `body`, the beginning of a line of `line_len` bytes, so that body and mark take at most `room` bytes.
///
/// Each `escaped` byte takes [`ESCAPE_LEN`]. `None` if nothing is missing: the body is the whole line, and fits.
pub fn cut(body: &[u8], line_len: u64, room: usize, escaped: Option<u8>) -> Option<Cut> {
    let line_len = line_len.max(body.len() as u64);
    let unmarked = fitting(body, room, escaped);
    if unmarked as u64 == line_len {
        return None;
    }
    // The number in the mark grows as the body shrinks, but never beyond the line's length.
    let Some(room) = room.checked_sub(mark(line_len).len()) else {
        return Some(Cut { keep: unmarked, mark: String::new() });
    };
    let keep = fitting(body, room, escaped);
    Some(Cut { keep, mark: mark(line_len - keep as u64) })
}

fn mark(missing: u64) -> String {
    format!(" [cut: {missing} bytes]")
}

/// How many bytes of the body fit, without splitting a character.
fn fitting(body: &[u8], room: usize, escaped: Option<u8>) -> usize {
    let Some(escaped) = escaped else { return floor_utf8(body, room) };
    let mut used = 0;
    let too_long = body.iter().position(|&byte| {
        used += if byte == escaped { ESCAPE_LEN } else { 1 };
        used > room
    });
    too_long.map_or(body.len(), |at| floor_utf8(body, at))
}

/// The largest length up to `at` at which `bytes` can be cut without splitting a UTF-8 sequence.
///
/// Bytes that are no UTF-8 are cut where they are.
fn floor_utf8(bytes: &[u8], at: usize) -> usize {
    if at >= bytes.len() {
        return bytes.len();
    }
    for start in (at.saturating_sub(3)..at).rev() {
        let length = match bytes[start] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => break,
        };
        let whole = bytes.get(start..start + length).is_some_and(|bytes| str::from_utf8(bytes).is_ok());
        return if whole && start + length > at { start } else { at };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cut_says_how_much_is_missing() {
        let body = [b'x'; 100];
        assert_eq!(cut(&body, 100, 100, None), None);
        let shorter = Cut { keep: 31, mark: " [cut: 69 bytes]".into() };
        assert_eq!(cut(&body, 100, 48, None), Some(shorter), "beside room for the longest mark, of 17 bytes");
        let reader = Cut { keep: 100, mark: " [cut: 900 bytes]".into() };
        assert_eq!(cut(&body, 1000, 118, None), Some(reader), "a line that the reader had cut already");
        assert_eq!(cut(&body, 100, 5, None), Some(Cut { keep: 5, mark: String::new() }));
    }

    #[test]
    fn what_is_escaped_takes_more_room() {
        let escaped = Cut { keep: 3, mark: " [cut: 7 bytes]".into() };
        assert_eq!(cut(b"a\n\n\n\n\n\n\n\n\n", 10, 25, Some(b'\n')), Some(escaped));
        assert_eq!(cut(b"a\nb", 3, 6, Some(b'\n')), None);
        assert_eq!(cut(b"a\nb", 3, 5, Some(b'\n')), Some(Cut { keep: 2, mark: String::new() }));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_cut_where_they_are() {
        assert_eq!(floor_utf8(b"a\xC3\xA4b", 2), 1);
        assert_eq!(floor_utf8(b"a\xC3\xA4b", 3), 3);
        assert_eq!(floor_utf8(b"a\xC3", 1), 1);
        assert_eq!(floor_utf8(b"\x80\x80\x80\x80\x80", 3), 3);
        assert_eq!(floor_utf8(b"\xF0\x9F\x98xyz", 2), 2);
        assert_eq!(floor_utf8("😀".as_bytes(), 3), 0);
    }

    proptest! {
        #[test]
        fn a_cut_fits_and_splits_no_character(
            line in "(\\PC|\n){0,80}", more in 0u64..2000, room in 0usize..200, escaped: bool,
        ) {
            let escaped = escaped.then_some(b'\n');
            let size = |keep: usize| {
                keep + (ESCAPE_LEN - 1) * line.bytes().take(keep).filter(|&b| Some(b) == escaped).count()
            };
            let whole = line.len() as u64 + more;
            match cut(line.as_bytes(), whole, room, escaped) {
                None => prop_assert!(more == 0 && size(line.len()) <= room),
                Some(Cut { keep, mark }) => {
                    prop_assert!(more > 0 || size(line.len()) > room);
                    prop_assert!(line.is_char_boundary(keep));
                    prop_assert!(size(keep) + mark.len() <= room);
                    if !mark.is_empty() {
                        prop_assert_eq!(mark, format!(" [cut: {} bytes]", whole - keep as u64));
                    }
                }
            }
        }
    }
}
