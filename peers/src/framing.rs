//! Frames of syslog over a stream: in, chunks as they are read; out, whole messages without their frame.
//!
//! Octet counting is RFC 5425 §4.3 (`LENGTH SP MESSAGE`), LF framing RFC 6587 §3.4.2. What is not a whole
//! message yet waits inside. Pure; written apart from the sender's encoder, so that neither hides the
//! other's mistakes.

use std::fmt;

use memchr::memchr;

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Per message: a digit starts octet counting, anything else LF framing, as rsyslog does it.
    #[default]
    Auto,
    /// RFC 5425; anything else is an error.
    OctetCounting,
    /// LF ends a message.
    LineFeed,
    /// NUL ends a message.
    Nul,
}

/// A message may be as long as this.
const LONGEST: usize = 64 << 20;
/// Bytes added at least to a message that is not whole.
const LEAST_PIECE: usize = 256;

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameError {
    /// The first bytes of what should have been a frame.
    pub start: Vec<u8>,
}

impl fmt::Display for FrameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "no frame starts with \"{}\"", self.start.escape_ascii())
    }
}

impl std::error::Error for FrameError {}

/// Takes a stream of chunks apart into messages.
#[derive(Debug, Default)]
pub struct Deframer {
    framing: Framing,
    rest: Vec<u8>,
}

impl Deframer {
    /// An empty one.
    pub fn new(framing: Framing) -> Self {
        Self { framing, rest: Vec::new() }
    }

    /// Adds what was read and hands out every message that is whole now.
    pub fn push(&mut self, mut chunk: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<(), FrameError> {
        // Only the message that is waiting is put together by copying; whole ones are taken where they are.
        while !self.rest.is_empty() && !chunk.is_empty() {
            // As much again as there is: few copies for a long message, few bytes too many for a short one.
            let (piece, others) = chunk.split_at(chunk.len().min(self.rest.len().max(LEAST_PIECE)));
            let before = self.rest.len();
            self.rest.extend_from_slice(piece);
            match next(self.framing, &self.rest)? {
                None => chunk = others,
                Some(frame) => {
                    take(&self.rest[frame.start..frame.end]);
                    chunk = &chunk[frame.length - before..];
                    self.rest.clear();
                }
            }
        }
        while let Some(frame) = next(self.framing, chunk)? {
            take(&chunk[frame.start..frame.end]);
            chunk = &chunk[frame.length..];
        }
        self.rest.extend_from_slice(chunk);
        Ok(())
    }

    /// Bytes of a message that is not whole.
    pub fn incomplete_bytes(&self) -> usize {
        self.rest.len()
    }
}

/// Where a message lies in the bytes looked at, and how many bytes the frame has in all.
struct Frame {
    start: usize,
    end: usize,
    length: usize,
}

fn next(framing: Framing, bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let Some(first) = bytes.first() else { return Ok(None) };
    match framing {
        Framing::Auto if first.is_ascii_digit() => counted(bytes),
        Framing::OctetCounting => counted(bytes),
        Framing::Auto | Framing::LineFeed => Ok(delimited(bytes, b'\n')),
        Framing::Nul => Ok(delimited(bytes, 0)),
    }
}

fn delimited(bytes: &[u8], delimiter: u8) -> Option<Frame> {
    let end = memchr(delimiter, bytes)?;
    Some(Frame { start: 0, end, length: end + 1 })
}

/// `MSG-LEN = NONZERO-DIGIT *DIGIT`, then one blank.
fn counted(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let error = || FrameError { start: bytes[..bytes.len().min(32)].to_vec() };
    let mut count = 0;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'0' if index == 0 => return Err(error()),
            b'0'..=b'9' => count = count * 10 + usize::from(byte - b'0'),
            b' ' if index > 0 => {
                let start = index + 1;
                let frame = Frame { start, end: start + count, length: start + count };
                return Ok((bytes.len() >= frame.length).then_some(frame));
            }
            _ => return Err(error()),
        }
        if count > LONGEST {
            return Err(error());
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the size of the chunks, the same messages come out.
    fn check(framing: Framing, stream: &[u8], expected: &[&[u8]], incomplete: usize) {
        for size in 1..=stream.len() {
            let mut deframer = Deframer::new(framing);
            let mut messages: Vec<Vec<u8>> = Vec::new();
            for chunk in stream.chunks(size) {
                deframer.push(chunk, &mut |message| messages.push(message.to_vec())).unwrap();
            }
            assert_eq!(messages, expected, "chunks of {size}");
            assert_eq!(deframer.incomplete_bytes(), incomplete);
        }
    }

    fn check_error(framing: Framing, stream: &[u8], start: &[u8]) {
        let error = Deframer::new(framing).push(stream, &mut |_| {}).unwrap_err();
        assert_eq!(error.start, start);
    }

    #[test]
    fn counted_messages_may_hold_line_feeds_and_nul() {
        check(Framing::OctetCounting, b"3 a\nb1 \x0010 0123456789", &[b"a\nb", b"\0", b"0123456789"], 0);
    }

    #[test]
    fn long_messages_are_put_together_from_many_pieces() {
        let long = vec![b'x'; 5_000];
        let stream = [b"5000 ".as_slice(), &long, b"2 ab5000 ", &long].concat();
        check(Framing::OctetCounting, &stream, &[&long, b"ab", &long], 0);
    }

    #[test]
    fn a_message_that_is_not_whole_waits() {
        check(Framing::OctetCounting, b"3 abc5 de", &[b"abc"], 4);
        check(Framing::LineFeed, b"<1>a\n<1>b", &[b"<1>a"], 4);
    }

    #[test]
    fn delimited_messages_may_be_empty() {
        check(Framing::LineFeed, b"a\n\nb\n", &[b"a", b"", b"b"], 0);
        check(Framing::Nul, b"a\nb\0c\0", &[b"a\nb", b"c"], 0);
    }

    #[test]
    fn both_framings_may_mix_when_guessed_per_message() {
        check(Framing::Auto, b"<1>a\n4 <1>b<1>c\n", &[b"<1>a", b"<1>b", b"<1>c"], 0);
    }

    #[test]
    fn what_is_no_count_is_an_error() {
        check_error(Framing::OctetCounting, b"<14>1 ", b"<14>1 ");
        check_error(Framing::OctetCounting, b"03 abc", b"03 abc");
        check_error(Framing::OctetCounting, b" 3 abc", b" 3 abc");
        check_error(Framing::Auto, b"99999999999 a", b"99999999999 a");
    }
}
