//! A line that is longer than the limit: its head is sent with a mark, the rest only counted.

use super::{Buffers, CHUNK_BYTES, Filled, Next, OVERLAP_BYTES, Track, Wire};
use crate::forward::clock::Clock;
use crate::stream::feed::Source;
use crate::syslog::frame::frame_head_into;

impl Track {
    /// Reads on, one chunk at a time, until the end of a line that is longer than the limit.
    pub(super) fn follow_overlong(
        &mut self,
        source: &Source,
        (size, sealed): (u64, bool),
        wire: Wire,
        buffers: &mut Buffers,
        out: &mut Vec<u8>,
    ) -> Next {
        let Some(mut overlong) = self.overlong.take() else { return Next::Nothing };
        let chunk = &mut buffers.chunk;
        chunk.resize(chunk.len().max(OVERLAP_BYTES + CHUNK_BYTES), 0);
        let end = loop {
            let left = usize::try_from(size.saturating_sub(overlong.scanned)).unwrap_or(usize::MAX);
            let target = &mut chunk[..left.min(CHUNK_BYTES)];
            match buffers.reader.read(source, overlong.scanned, target) {
                Ok(0) if sealed => break (overlong.scanned, false),
                Ok(0) => {
                    self.partial_at = Some(size);
                    self.overlong = Some(overlong);
                    return Next::Nothing;
                }
                Ok(count) => {
                    if let Some(end) = overlong.find_end(&target[..count]) {
                        break (end, true);
                    }
                }
                Err(error) => {
                    self.overlong = Some(overlong);
                    return Next::Failed(error);
                }
            }
        };
        let line = overlong.line(end.0, end.1);
        let mut clock = Clock::new(self.volume.times(&self.feed.key, line.start, line.start + 1));
        clock.tell(line.start, &mut self.header);
        self.header.set_position(self.feed.key.number, line.start);
        let length = line.bytes.len() as u64 + line.cut;
        frame_head_into(out, wire.framing, self.header.as_bytes(), line.bytes, length, wire.max_message);
        let (is_replay, is_proved) = (line.end <= self.furthest, line.end <= self.proved);
        let bytes = line.end - line.start;
        let filled = Filled {
            to: line.end,
            lines: 1,
            bytes,
            replayed: u64::from(is_replay),
            cut: u64::from(!is_replay),
            unproved_lines: u64::from(!is_proved),
            unproved_bytes: if is_proved { 0 } else { bytes },
        };
        self.tail.clear();
        self.partial_at = None;
        self.arrive(filled.to);
        Next::Filled(filled)
    }
}
