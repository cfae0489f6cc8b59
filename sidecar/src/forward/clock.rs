//! Walks along the times of a chunk's bytes. Pure: the times are passed in.

use jiff::Timestamp;

use crate::syslog::message::Header;

/// Walks along the times of a chunk's bytes, changing the header only where the time changes.
pub struct Clock {
    times: std::vec::IntoIter<(i64, u64)>,
    until: u64,
}

impl Clock {
    /// From pairs of time (microseconds since the epoch) and the position up to which it holds.
    pub fn new(times: Vec<(i64, u64)>) -> Clock {
        Clock { times: times.into_iter(), until: 0 }
    }

    /// Sets the header's time to that of the byte at `position`; positions ascend.
    pub fn tell(&mut self, position: u64, header: &mut Header) {
        while position >= self.until {
            let Some((micros, until)) = self.times.next() else {
                self.until = u64::MAX;
                return;
            };
            self.until = until;
            if position < until {
                header.set_time(Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH));
            }
        }
    }
}
