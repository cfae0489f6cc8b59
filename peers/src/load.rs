//! A bounded HTTP load: in, a port, a rate and a number of connections; out, numbered requests and how many
//! were answered.
//!
//! Request `n` is `GET /req/NNNNNN`, each number is sent once and never again, over connections that are
//! kept alive. Only what an app needs to write its access log, no HTTP client for anything else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::ports;

/// Longest wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What became of the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests sent: the numbers from 0 up to this.
    pub sent: u64,
    /// Requests answered with status 200.
    pub answered: u64,
}

/// A running load; dropping it stops it.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    port: u16,
    per_second: u64,
    start: Instant,
    stop: AtomicBool,
    next: AtomicU64,
    answered: AtomicU64,
}

impl Load {
    /// Sends `per_second` requests a second over so many connections until it is stopped.
    pub fn start(port: u16, connections: usize, per_second: u64) -> Self {
        let shared = Arc::new(Shared {
            port,
            per_second: per_second.max(1),
            start: Instant::now(),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        });
        let start = || {
            let shared = shared.clone();
            thread::spawn(move || shared.drive())
        };
        let threads = (0..connections).map(|_| start()).collect();
        Self { shared, threads }
    }

    /// What became of the requests so far.
    pub fn totals(&self) -> Totals {
        Totals { sent: self.shared.next.load(Relaxed), answered: self.shared.answered.load(Relaxed) }
    }

    /// Sends nothing more, waits for the answers that are under way, and counts.
    pub fn stop(mut self) -> Totals {
        self.end();
        self.totals()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been printed, and its requests count as not answered.
            drop(thread.join());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn drive(&self) {
        let mut connection: Option<BufReader<TcpStream>> = None;
        while !self.stop.load(Relaxed) {
            let stream = match connection.take() {
                Some(stream) => Ok(stream),
                None => connect(self.port),
            };
            let Ok(mut stream) = stream else {
                sleep(Duration::from_millis(50));
                continue;
            };
            let number = self.next.fetch_add(1, Relaxed);
            self.wait_for_turn(number);
            if request(&mut stream, number).is_ok() {
                self.answered.fetch_add(1, Relaxed);
                connection = Some(stream);
            }
        }
    }

    /// Request `n` is due `n / per_second` after the start, however long the others took.
    fn wait_for_turn(&self, number: u64) {
        let due = Duration::from_secs_f64(number as f64 / self.per_second as f64);
        sleep(due.saturating_sub(self.start.elapsed()));
    }
}

fn connect(port: u16) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(ports::local(port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

fn request(stream: &mut BufReader<TcpStream>, number: u64) -> Result<()> {
    let request = format!("GET /req/{number:06} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    read_answer(stream)
}

/// Reads one answer to its end, so that the next one starts where this one ends.
fn read_answer(stream: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200 "), "answered {line:?}");
    let mut length = None;
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line)? > 0, "the headers have no end");
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<u64>()?);
        }
    }
    let length = length.context("an answer without length")?;
    let read = std::io::copy(&mut stream.take(length), &mut std::io::sink())?;
    ensure!(read == length, "the answer is cut off");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let two =
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut stream = two.as_bytes();
        read_answer(&mut stream).unwrap();
        read_answer(&mut stream).unwrap();
        assert!(stream.is_empty());
    }

    #[test]
    fn errors_and_cut_off_answers_do_not_count() {
        for answer in [
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "",
        ] {
            assert!(read_answer(&mut answer.as_bytes()).is_err(), "{answer:?}");
        }
    }
}
