//! Bytes -> lines with absolute spans. Pure.
//!
//! A line ends with LF, which is not part of it; everything else is: NUL, CR, invalid UTF-8. A line longer than
//! the limit is given as its head and its full length, so that the cut can be marked and counted.

/// One line, or the head of one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Position of its first byte.
    pub start: u64,
    /// Position after its LF.
    pub end: u64,
    /// Its bytes without the LF, at most the limit.
    pub bytes: &'a [u8],
    /// How many bytes of it are not in `bytes`.
    pub cut: u64,
}

/// What a chunk of bytes ends with.
#[derive(Debug, PartialEq, Eq)]
pub enum Rest {
    /// A line that is not complete yet begins at this position (or nothing is left, and the next one does).
    From(u64),
    /// The line that begins here is longer than the limit and not complete: see [`Overlong`].
    Overlong(u64),
}

/// Splits `chunk`, whose first byte is at `position` and begins a line, calling `each` for every complete line.
pub fn split<'a>(chunk: &'a [u8], position: u64, limit: usize, mut each: impl FnMut(Line<'a>)) -> Rest {
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', chunk) {
        let whole = &chunk[start..newline];
        let bytes = &whole[..whole.len().min(limit)];
        each(Line {
            start: position + start as u64,
            end: position + newline as u64 + 1,
            bytes,
            cut: (whole.len() - bytes.len()) as u64,
        });
        start = newline + 1;
    }
    let rest = position + start as u64;
    if chunk.len() - start > limit { Rest::Overlong(rest) } else { Rest::From(rest) }
}

/// A line longer than the limit, whose end has not been seen: its head is kept, the rest only counted.
#[derive(Debug)]
pub struct Overlong {
    /// Position of its first byte.
    pub start: u64,
    /// Its first bytes, as many as the limit allows.
    pub head: Vec<u8>,
    /// Position up to which its end has been looked for.
    pub scanned: u64,
}

impl Overlong {
    /// `chunk` begins at `start` and is longer than `limit`.
    pub fn new(start: u64, chunk: &[u8], limit: usize) -> Overlong {
        Overlong { start, head: chunk[..limit].to_vec(), scanned: start + chunk.len() as u64 }
    }

    /// Looks for the end in the bytes that follow. Some: the position after the LF.
    pub fn find_end(&mut self, chunk: &[u8]) -> Option<u64> {
        let found = memchr::memchr(b'\n', chunk).map(|at| self.scanned + at as u64 + 1);
        self.scanned = found.unwrap_or(self.scanned + chunk.len() as u64);
        found
    }

    /// The line, when its end was found after `end`, or the file was sealed there without one.
    pub fn line(&self, end: u64, has_newline: bool) -> Line<'_> {
        let length = end - self.start - u64::from(has_newline);
        Line { start: self.start, end, bytes: &self.head, cut: length - self.head.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(chunk: &[u8], limit: usize, expected: &[(&[u8], u64)], rest: Rest) {
        let mut seen = Vec::new();
        let got = split(chunk, 1000, limit, |line| seen.push((line.bytes.to_vec(), line.cut)));
        let expected: Vec<(Vec<u8>, u64)> = expected.iter().map(|(b, c)| (b.to_vec(), *c)).collect();
        assert_eq!(seen, expected);
        assert_eq!(got, rest);
    }

    #[test]
    fn lines_keep_every_byte_but_their_newline() {
        check(b"a\r\n\0\xff\n\nb", 10, &[(b"a\r", 0), (b"\0\xff", 0), (b"", 0)], Rest::From(1007));
        check(b"", 10, &[], Rest::From(1000));
    }

    #[test]
    fn a_line_over_the_limit_is_cut_and_the_cut_counted() {
        check(b"abcdef\nxy\n", 4, &[(b"abcd", 2), (b"xy", 0)], Rest::From(1010));
        check(b"abcd\n", 4, &[(b"abcd", 0)], Rest::From(1005));
    }

    #[test]
    fn a_line_over_the_limit_without_its_end_is_told() {
        check(b"ok\nabcde", 4, &[(b"ok", 0)], Rest::Overlong(1003));
        check(b"abcd", 4, &[], Rest::From(1000));
    }

    #[test]
    fn an_overlong_line_is_followed_to_its_end() {
        let mut overlong = Overlong::new(10, b"abcdef", 4);
        assert_eq!(overlong.find_end(b"ghi"), None);
        let end = overlong.find_end(b"jk\nnext").unwrap();
        assert_eq!(end, 22);
        let line = overlong.line(end, true);
        assert_eq!((line.start, line.bytes, line.cut), (10, &b"abcd"[..], 7));
        assert_eq!(Overlong::new(0, b"abcdef", 4).line(6, false).cut, 2);
    }

    proptest! {
        #[test]
        fn joined_with_newlines_the_lines_are_the_chunk(chunk in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400)) {
            let mut joined = Vec::new();
            let mut next = 7;
            let rest = split(&chunk, 7, usize::MAX, |line| {
                assert_eq!(line.start, next);
                next = line.end;
                joined.extend_from_slice(line.bytes);
                joined.push(b'\n');
            });
            prop_assert_eq!(rest, Rest::From(next));
            joined.extend_from_slice(&chunk[joined.len()..]);
            prop_assert_eq!(joined, chunk);
        }
    }
}
