//! From a message to what stands on the wire between it and the next one.
//!
//! In: a head (see [`crate::syslog::message`]) and a body of arbitrary bytes. Out: one frame, appended to a buffer.
//!
//! What always holds: a receiver that knows the framing finds exactly one message in the frame, whatever the body
//! holds; the message is no longer than the limit (given that its head is not), counted as it is transmitted; a message
//! that was cut says so. Octet counting leaves the body's bytes alone, the other framings replace their delimiter.

use super::cut::{Cut, ESCAPE_LEN, cut};
use super::message::push_decimal;

/// How messages follow one another on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// The length in decimal, a space, the message: RFC 5425 section 4.3, RFC 6587 section 3.4.1.
    OctetCounting,
    /// The message, then a line feed: RFC 6587 section 3.4.2. A line feed inside becomes `#012`.
    LineFeed,
    /// The message, then a NUL, as Graylog wants it. A NUL inside becomes `#000`.
    Nul,
}

impl Framing {
    /// The byte that ends a message, and what replaces it inside one: its octal number, as rsyslog shows control characters.
    fn delimiter(self) -> Option<(u8, &'static [u8; ESCAPE_LEN])> {
        match self {
            Self::OctetCounting => None,
            Self::LineFeed => Some((b'\n', b"#012")),
            Self::Nul => Some((0, b"#000")),
        }
    }
}

/// What framing did to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Whether a part of the line is missing.
    pub cut: bool,
}

/// Appends the message of `header` and the whole line `body` to `out`.
///
/// `max_message` is the longest message in bytes, without what the framing adds around it. The head is never cut: one
/// that is longer than the limit goes out alone. Nothing is allocated, beyond the growth of `out`, unless the line is cut.
pub fn frame_into(
    out: &mut Vec<u8>,
    framing: Framing,
    header: &[u8],
    body: &[u8],
    max_message: usize,
) -> Framed {
    frame_head_into(out, framing, header, body, body.len() as u64, max_message)
}

/// As [`frame_into`], for a line of `line_len` bytes of which `body` may be only the head: the reader had cut it.
pub fn frame_head_into(
    out: &mut Vec<u8>,
    framing: Framing,
    header: &[u8],
    body: &[u8],
    line_len: u64,
    max_message: usize,
) -> Framed {
    let delimiter = framing.delimiter();
    let room = max_message.saturating_sub(header.len());
    let fits = body.len() <= room && line_len <= body.len() as u64;
    let plain = delimiter.is_none_or(|(byte, _)| memchr::memchr(byte, body).is_none());
    if !fits || !plain {
        return frame_slowly(out, delimiter, header, body, line_len, room);
    }
    if delimiter.is_none() {
        push_decimal(out, (header.len() + body.len()) as u64);
        out.push(b' ');
    }
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    if let Some((byte, _)) = delimiter {
        out.push(byte);
    }
    Framed { cut: false }
}

/// The rare cases: a line that is too long, or holds the delimiter.
#[cold]
fn frame_slowly(
    out: &mut Vec<u8>,
    delimiter: Option<(u8, &[u8; ESCAPE_LEN])>,
    header: &[u8],
    body: &[u8],
    line_len: u64,
    room: usize,
) -> Framed {
    let cut = cut(body, line_len, room, delimiter.map(|(byte, _)| byte));
    let is_cut = cut.is_some();
    let Cut { keep, mark } = cut.unwrap_or(Cut { keep: body.len(), mark: String::new() });
    let body = &body[..keep];
    match delimiter {
        None => {
            push_decimal(out, (header.len() + keep + mark.len()) as u64);
            out.push(b' ');
            out.extend_from_slice(header);
            out.extend_from_slice(body);
            out.extend_from_slice(mark.as_bytes());
        }
        Some((byte, escape)) => {
            out.extend_from_slice(header);
            for (index, piece) in body.split(|&b| b == byte).enumerate() {
                out.extend_from_slice(if index > 0 { escape } else { b"" });
                out.extend_from_slice(piece);
            }
            out.extend_from_slice(mark.as_bytes());
            out.push(byte);
        }
    }
    Framed { cut: is_cut }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAMINGS: [Framing; 3] = [Framing::OctetCounting, Framing::LineFeed, Framing::Nul];

    fn frame(framing: Framing, header: &str, body: &[u8], max: usize) -> (String, bool) {
        let mut out = Vec::new();
        let framed = frame_into(&mut out, framing, header.as_bytes(), body, max);
        (String::from_utf8_lossy(&out).into_owned(), framed.cut)
    }

    /// What a receiver makes of a stream of frames; panics where the stream is no sequence of frames.
    fn decode(framing: Framing, mut stream: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while !stream.is_empty() {
            let (message, rest) = match framing {
                Framing::OctetCounting => {
                    let space = stream.iter().position(|&b| b == b' ').unwrap();
                    let digits = str::from_utf8(&stream[..space]).unwrap();
                    assert!(!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
                    stream[space + 1..].split_at(digits.parse().unwrap())
                }
                Framing::LineFeed | Framing::Nul => {
                    let end = if framing == Framing::LineFeed { b'\n' } else { 0 };
                    let at = stream.iter().position(|&b| b == end).unwrap();
                    (&stream[..at], &stream[at + 1..])
                }
            };
            messages.push(message.to_vec());
            stream = rest;
        }
        messages
    }

    fn escape(framing: Framing, body: &[u8]) -> Vec<u8> {
        let one = |&byte: &u8| match (framing, byte) {
            (Framing::LineFeed, b'\n') => b"#012".to_vec(),
            (Framing::Nul, 0) => b"#000".to_vec(),
            _ => vec![byte],
        };
        body.iter().flat_map(one).collect()
    }

    #[test]
    fn octet_counting_counts_the_bytes_of_the_message() {
        assert_eq!(
            frame(Framing::OctetCounting, "<1>1 ", "aä".as_bytes(), 8),
            ("8 <1>1 aä".to_owned(), false)
        );
    }

    #[test]
    fn a_delimiter_inside_a_message_is_replaced() {
        let body = b"a\n\0b\n";
        assert_eq!(frame(Framing::LineFeed, "H ", body, 100), ("H a#012\0b#012\n".to_owned(), false));
        assert_eq!(frame(Framing::Nul, "H ", body, 100), ("H a\n#000b\n\0".to_owned(), false));
        assert_eq!(frame(Framing::OctetCounting, "H ", body, 100), ("7 H a\n\0b\n".to_owned(), false));
    }

    #[test]
    fn an_empty_line_is_a_message() {
        assert_eq!(frame(Framing::OctetCounting, "H ", b"", 100), ("2 H ".to_owned(), false));
        assert_eq!(frame(Framing::LineFeed, "H ", b"", 100), ("H \n".to_owned(), false));
    }

    #[test]
    fn a_line_over_the_limit_is_cut_before_its_length_is_written() {
        let (text, cut) = frame(Framing::OctetCounting, "H ", &[b'x'; 1000], 30);
        assert_eq!((text.as_str(), cut), ("29 H xxxxxxxxxx [cut: 990 bytes]", true));
        let (text, cut) = frame(Framing::LineFeed, "H ", &[b'\n'; 1000], 30);
        assert_eq!((text.as_str(), cut), ("H #012#012 [cut: 998 bytes]\n", true));
    }

    #[test]
    fn a_line_that_the_reader_had_cut_is_marked() {
        let mut out = Vec::new();
        let framed = frame_head_into(&mut out, Framing::LineFeed, b"H ", b"abc", 1_000_003, 100);
        assert_eq!((out.as_slice(), framed.cut), (&b"H abc [cut: 1000000 bytes]\n"[..], true));
    }

    #[test]
    fn a_head_beyond_the_limit_goes_out_alone() {
        assert_eq!(frame(Framing::OctetCounting, "HEAD ", b"x", 3), ("5 HEAD ".to_owned(), true));
    }

    proptest! {
        #[test]
        fn a_receiver_finds_what_was_framed(
            bodies in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), Just(0), any::<u8>()], 0..60), 0..6),
        ) {
            for framing in FRAMINGS {
                let mut out = Vec::new();
                for body in &bodies {
                    prop_assert!(!frame_into(&mut out, framing, b"<0>1 H ", body, 1000).cut);
                }
                let expected: Vec<_> =
                    bodies.iter().map(|b| [&b"<0>1 H "[..], &escape(framing, b)].concat()).collect();
                prop_assert_eq!(decode(framing, &out), expected);
            }
        }

        #[test]
        fn no_message_is_longer_than_the_limit_and_none_is_cut_in_silence(
            body in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0), Just(0xC3), any::<u8>()], 0..200),
            more in 0u64..3, max in 8usize..150,
        ) {
            for framing in FRAMINGS {
                let mut out = Vec::new();
                let line_len = body.len() as u64 + more;
                let framed = frame_head_into(&mut out, framing, b"<0>1 H ", &body, line_len, max);
                let messages = decode(framing, &out);
                prop_assert_eq!(messages.len(), 1);
                prop_assert!(messages[0].len() <= max);
                let whole = [&b"<0>1 H "[..], &escape(framing, &body)].concat();
                prop_assert_eq!(framed.cut, more > 0 || whole.len() > max);
                if framed.cut {
                    let marked = messages[0].ends_with(b" bytes]") && messages[0].contains(&b'[');
                    prop_assert!(marked || max < 7 + " [cut: 999 bytes]".len());
                } else {
                    prop_assert_eq!(&messages[0], &whole);
                }
            }
        }
    }
}
