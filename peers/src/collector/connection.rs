//! Serves one connection: in, an accepted socket; out, messages in the store and a report.
//!
//! A message is in the store before anything more is read, and the report of an ended connection is final.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::settings::{Answer, Ending, Faults};
use super::sink::Sink;
use super::wire::{Got, Wire};
use super::{Ended, Report, Shared};
use crate::framing::Deframer;

/// How long a stalled connection sleeps before it looks at its knobs again.
const STALL: Duration = Duration::from_millis(5);
/// A limited connection reads this often per second.
const READS_PER_SECOND: u64 = 100;

pub(super) struct Connection {
    shared: Arc<Shared>,
    /// The number of [`super::Collector::end_connections`] calls that this connection has heard of.
    endings_seen: u64,
    number: u64,
    faults: Faults,
    bytes: u64,
    last_bytes: Instant,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> Self {
        let faults = &shared.settings.faults;
        let faults = if number < faults.connections { faults.clone() } else { Faults::default() };
        let endings_seen = shared.knobs.endings.load(Relaxed);
        Self { shared, endings_seen, number, faults, bytes: 0, last_bytes: Instant::now() }
    }

    /// Serves until the end of the connection and reports.
    pub(super) fn serve(mut self, stream: TcpStream) {
        let ended = match self.receive(stream) {
            Ok(ended) => ended,
            Err(error) => Ended::Broken(error.to_string()),
        };
        self.report(|report| report.ended = ended);
    }

    fn receive(&mut self, stream: TcpStream) -> io::Result<Ended> {
        let mut wire = Wire::new(stream, self.shared.tls.as_ref())?;
        let settings = &self.shared.settings;
        let mut sink = Sink::open(&settings.store, &self.shared.kept, self.number)?;
        let mut deframer = Deframer::new(settings.framing);
        let mut handshake_reported = false;
        loop {
            if let Some(ending) = self.ending_due() {
                wire.end(ending)?;
                return Ok(Ended::ByUs(ending));
            }
            if self.shared.knobs.stop.load(Relaxed) {
                return Ok(Ended::Stopped);
            }
            let Some(limit) = self.read_limit() else {
                sleep(STALL);
                continue;
            };
            let got = self.read_once(&mut wire, limit, &mut deframer, &mut sink)?;
            if !handshake_reported && wire.version().is_some() {
                handshake_reported = true;
                self.report_handshake(&wire);
            }
            match got {
                Got::Bytes(_) | Got::Nothing => {}
                Got::Closed => return self.answer(wire),
                Got::Truncated => return Ok(Ended::WithoutCloseNotify),
            }
        }
    }

    /// Everything that one read brings is stored and counted before this returns.
    fn read_once(
        &mut self,
        wire: &mut Wire,
        limit: usize,
        deframer: &mut Deframer,
        sink: &mut Sink,
    ) -> io::Result<Got> {
        let (mut bytes, mut messages, mut bad_frame) = (0, 0, None);
        let got = wire.read(limit, &mut |plaintext| {
            bytes += plaintext.len() as u64;
            let pushed = deframer.push(plaintext, &mut |message| {
                messages += 1;
                sink.take(message);
            });
            bad_frame = bad_frame.take().or(pushed.err());
        });
        sink.flush()?;
        if bytes > 0 {
            self.count(bytes, messages, deframer.incomplete_bytes());
        }
        match bad_frame {
            Some(error) => Err(io::Error::other(error)),
            None => got,
        }
    }

    fn count(&mut self, bytes: u64, messages: u64, incomplete_bytes: usize) {
        self.bytes += bytes;
        self.last_bytes = Instant::now();
        self.shared.bytes.fetch_add(bytes, Relaxed);
        self.shared.messages.fetch_add(messages, Relaxed);
        self.report(|report| {
            report.bytes += bytes;
            report.messages += messages;
            report.incomplete_bytes = incomplete_bytes;
        });
    }

    fn answer(&self, mut wire: Wire) -> io::Result<Ended> {
        match self.faults.answer {
            Answer::Orderly => {
                wire.close()?;
                wire.read_to_end()?;
            }
            Answer::Fin => {
                wire.shutdown()?;
                wire.read_to_end()?;
            }
            Answer::CloseNotifyOnly => {
                wire.send_close_notify()?;
                self.hold();
            }
            Answer::Never => self.hold(),
            Answer::Reset => wire.reset()?,
        }
        Ok(Ended::ByClient)
    }

    /// Keeps the socket open until the collector stops or is told to end its connections.
    fn hold(&self) {
        // The client has closed, and the report should say so now.
        self.report(|report| report.ended = Ended::ByClient);
        while !self.shared.knobs.stop.load(Relaxed) && self.ending_told().is_none() {
            sleep(STALL);
        }
    }

    fn ending_due(&self) -> Option<Ending> {
        let by_bytes = self.faults.end_after_bytes.filter(|(limit, _)| self.bytes >= *limit);
        let by_time = self.faults.end_when_idle.filter(|(limit, _)| self.last_bytes.elapsed() >= *limit);
        let by_bytes = by_bytes.map(|(_, ending)| ending);
        let by_time = by_time.map(|(_, ending)| ending);
        by_bytes.or(by_time).or_else(|| self.ending_told())
    }

    fn ending_told(&self) -> Option<Ending> {
        let knobs = &self.shared.knobs;
        (knobs.endings.load(Relaxed) != self.endings_seen).then(|| knobs.ending())
    }

    /// How much may be read now; `None` while nothing may.
    fn read_limit(&self) -> Option<usize> {
        let knobs = &self.shared.knobs;
        if self.faults.never_handshake || knobs.stalled.load(Relaxed) {
            return None;
        }
        let rate = knobs.bytes_per_second.load(Relaxed);
        if rate > 0 {
            sleep(Duration::from_millis(1000 / READS_PER_SECOND));
            return usize::try_from(rate / READS_PER_SECOND).ok();
        }
        let left = self.faults.end_after_bytes.map(|(limit, _)| limit.saturating_sub(self.bytes));
        Some(left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX))
    }

    fn report_handshake(&self, wire: &Wire) {
        self.report(|report| {
            report.tls_version = wire.version();
            report.server_name = wire.server_name();
            report.client_certificate = wire.has_client_certificate();
        });
    }

    fn report(&self, change: impl FnOnce(&mut Report)) {
        let mut reports = self.shared.reports();
        if let Some(report) = usize::try_from(self.number).ok().and_then(|number| reports.get_mut(number)) {
            change(report);
        }
    }
}
