//! Turns the next bytes of one generation into framed messages.
//!
//! In: the feed, a position, and the times of its bytes. Out: frames appended to a buffer, and the position after
//! the last of them. What always holds: the position stands after a whole line, so the bytes sent are a prefix.

mod overlong;

use std::sync::Arc;

use super::clock::Clock;
use crate::read::lines::{Line, Overlong, Rest, split};
use crate::read::source::{ReadError, Reader};
use crate::settings::LogSettings;
use crate::stream::feed::{Feed, Source};
use crate::stream::volume::Volume;
use crate::syslog::frame::{Framing, frame_head_into};
use crate::syslog::message::Header;

/// How many bytes are read at once; more only for a line that is longer.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// How many bytes before the position are compared when reading goes on after a pause.
const OVERLAP_BYTES: usize = 64;

/// How messages look on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    /// How they are told apart.
    pub framing: Framing,
    /// The longest, in bytes.
    pub max_message: usize,
}

/// The state of reading one generation for one destination.
#[derive(Debug)]
pub struct Track {
    /// The generation.
    pub feed: Arc<Feed>,
    /// The volume it is on.
    pub volume: Arc<Volume>,
    /// Whether it stands in line to be read.
    pub is_in_line: bool,
    /// The settings of its log, as the header has them.
    pub log: Arc<LogSettings>,
    header: Header,
    /// The position to send next.
    position: u64,
    /// A line longer than the limit whose end has not been seen.
    overlong: Option<Overlong>,
    /// At this size, the bytes after the position were no whole line.
    partial_at: Option<u64>,
    /// The last bytes before the position.
    tail: Vec<u8>,
    /// The furthest position ever sent: what is sent below it is a replay.
    furthest: u64,
    /// The position up to which everything is proved to be received.
    proved: u64,
}

/// What one step of reading gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// The position after the last line.
    pub to: u64,
    /// Lines framed.
    pub lines: u64,
    /// Bytes of them, newlines included.
    pub bytes: u64,
    /// How many of the lines had been sent before.
    pub replayed: u64,
    /// How many of the lines were cut, replays left out.
    pub cut: u64,
    /// How many of the lines were never proved to be received: a replay of the margin was.
    pub unproved_lines: u64,
    /// Bytes of them.
    pub unproved_bytes: u64,
}

/// What there was to read.
#[derive(Debug)]
pub enum Next {
    /// Lines.
    Filled(Filled),
    /// No whole line yet.
    Nothing,
    /// The bytes before the position are not what was read: somebody truncated the file and wrote anew.
    Truncated,
    /// A sealed file is shorter than it was.
    Short,
    /// They cannot be read now.
    Failed(ReadError),
}

/// Buffers that serve all tracks of a destination in turn.
#[derive(Debug, Default)]
pub struct Buffers {
    reader: Reader,
    chunk: Vec<u8>,
}

impl Buffers {
    /// Gives back what a long line or a compressed archive needed.
    pub fn shrink(&mut self) {
        self.reader.close();
        if self.chunk.len() > CHUNK_BYTES + OVERLAP_BYTES {
            self.chunk = Vec::new();
        }
    }
}

impl Track {
    /// Begins to read `feed` at `position`.
    pub fn new(
        feed: Arc<Feed>,
        volume: Arc<Volume>,
        (log, header): (Arc<LogSettings>, Header),
        position: u64,
    ) -> Track {
        Track {
            log,
            feed,
            volume,
            is_in_line: false,
            header,
            position,
            overlong: None,
            partial_at: None,
            tail: Vec::new(),
            furthest: 0,
            proved: position,
        }
    }

    /// The settings of its log changed: the next lines are sent with them.
    pub fn set_log(&mut self, log: Arc<LogSettings>, header: Header) {
        (self.log, self.header) = (log, header);
    }

    /// Everything before `position` is proved to be received.
    pub fn prove(&mut self, position: u64) {
        self.proved = self.proved.max(position);
    }

    /// Whether there may be something to send.
    pub fn has_more(&self) -> bool {
        let sealed = self.feed.is_sealed();
        let size = self.feed.size();
        size > self.position && (sealed || self.partial_at != Some(size))
    }

    /// Whether everything was sent and nothing more will come.
    pub fn is_finished(&self) -> bool {
        self.feed.is_sealed() && self.position >= self.feed.size()
    }

    /// Goes back to send again from `position` on.
    pub fn rewind(&mut self, position: u64) {
        self.position = position;
        self.overlong = None;
        self.partial_at = None;
        self.tail.clear();
    }

    /// There is nothing left to read: somebody else took the bytes away.
    pub fn give_up(&mut self) {
        self.position = self.feed.size();
        self.feed.seal();
    }

    /// Frames the next lines into `out`.
    pub fn fill(&mut self, wire: Wire, buffers: &mut Buffers, out: &mut Vec<u8>) -> Next {
        let position = self.position;
        let sealed = self.feed.is_sealed();
        let size = self.feed.size();
        let source = self.feed.source();
        if self.overlong.is_some() {
            return self.follow_overlong(&source, (size, sealed), wire, buffers, out);
        }
        let limit = self.line_limit();
        let mut wanted = CHUNK_BYTES;
        loop {
            let chunk = match self.read(&source, position, wanted, size, buffers) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Next::Truncated,
                Err(error) => return Next::Failed(error),
            };
            let end = position + chunk.len() as u64;
            let (filled, rest) = self.frame(chunk, position, (end == size && sealed, limit), wire, out);
            if filled.to > position {
                self.remember(&buffers.chunk, position, filled.to);
                return Next::Filled(filled);
            }
            match rest {
                Rest::Overlong(start) => {
                    let chunk = &buffers.chunk[OVERLAP_BYTES..][..(end - position) as usize];
                    self.overlong = Some(Overlong::new(start, chunk, limit));
                    return self.follow_overlong(&source, (size, sealed), wire, buffers, out);
                }
                Rest::From(_) if end >= size => {
                    self.partial_at = Some(size);
                    return Next::Nothing;
                }
                // The chunk was too small for the line.
                Rest::From(_) if (end - position) as usize >= wanted => {
                    wanted = (wanted * 4).min(limit + 1).max(wanted + 1)
                }
                Rest::From(_) if sealed => return Next::Short,
                // The file is shorter than it was: the watcher will see it.
                Rest::From(_) => return Next::Nothing,
            }
        }
    }

    fn line_limit(&self) -> usize {
        usize::try_from(self.log.log.max_line.bytes()).unwrap_or(usize::MAX - 1)
    }

    /// Reads the bytes from `position` on into the chunk, behind a gap of [`OVERLAP_BYTES`] in which the bytes
    /// before the position are read too, if they are to be compared. None: they differ.
    fn read<'b>(
        &self,
        source: &Source,
        position: u64,
        wanted: usize,
        size: u64,
        buffers: &'b mut Buffers,
    ) -> Result<Option<&'b [u8]>, ReadError> {
        let wanted = wanted.min(usize::try_from(size - position).unwrap_or(usize::MAX));
        let Buffers { reader, chunk } = buffers;
        let needed = OVERLAP_BYTES + wanted.max(CHUNK_BYTES);
        if chunk.len() < needed {
            chunk.resize(needed, 0);
        }
        // A sealed file has no writer who could have truncated it.
        let compare = if self.feed.is_sealed() { 0 } else { self.tail.len() };
        let begin = OVERLAP_BYTES - compare;
        let target = &mut chunk[begin..OVERLAP_BYTES + wanted];
        let count = reader.read(source, position - compare as u64, target)?;
        if compare > 0 && (count < compare || chunk[begin..OVERLAP_BYTES] != self.tail[..]) {
            return Ok(None);
        }
        Ok(Some(&chunk[OVERLAP_BYTES..OVERLAP_BYTES + count.saturating_sub(compare)]))
    }

    /// Frames all whole lines of a chunk; of one that ends a sealed generation, also a last line without LF.
    fn frame(
        &mut self,
        chunk: &[u8],
        position: u64,
        (is_last, limit): (bool, usize),
        wire: Wire,
        out: &mut Vec<u8>,
    ) -> (Filled, Rest) {
        let end = position + chunk.len() as u64;
        let mut filled = Filled { to: position, ..Filled::default() };
        let mut clock = Clock::new(self.volume.times(&self.feed.key, position, end));
        let (generation, furthest, proved) = (self.feed.key.number, self.furthest, self.proved);
        let header = &mut self.header;
        let mut each = |line: Line<'_>| {
            clock.tell(line.start, header);
            header.set_position(generation, line.start);
            let length = line.bytes.len() as u64 + line.cut;
            let framed =
                frame_head_into(out, wire.framing, header.as_bytes(), line.bytes, length, wire.max_message);
            filled.to = line.end;
            filled.lines += 1;
            filled.cut += u64::from(framed.cut && line.end > furthest);
            filled.replayed += u64::from(line.end <= furthest);
            filled.unproved_lines += u64::from(line.end > proved);
        };
        let rest = split(chunk, position, limit, &mut each);
        if let (true, Rest::From(start)) = (is_last, &rest)
            && *start < end
        {
            let bytes = &chunk[(start - position) as usize..];
            each(Line { start: *start, end, bytes, cut: 0 });
        }
        filled.bytes = filled.to - position;
        filled.unproved_bytes = filled.to.saturating_sub(position.max(proved));
        self.arrive(filled.to);
        (filled, rest)
    }

    fn remember(&mut self, chunk: &[u8], position: u64, to: u64) {
        let end = OVERLAP_BYTES + (to - position) as usize;
        let read = &chunk[OVERLAP_BYTES..end];
        self.tail.clear();
        self.tail.extend_from_slice(&read[read.len().saturating_sub(OVERLAP_BYTES)..]);
        self.partial_at = None;
    }

    fn arrive(&mut self, position: u64) {
        self.position = position;
        self.furthest = self.furthest.max(position);
    }
}
