//! A bounded HTTP load: in, a port, a rate and a number of connections; out, numbered requests and how many
//! were answered.
//!
//! Request `n` is `GET /req/NNNNNN`, each number is sent once and never again, over connections that are
//! kept alive.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::http::Connection;

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
        let mut connection: Option<Connection> = None;
        while !self.stop.load(Relaxed) {
            let opened = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(self.port),
            };
            let Ok(mut open) = opened else {
                sleep(Duration::from_millis(50));
                continue;
            };
            let number = self.next.fetch_add(1, Relaxed);
            self.wait_for_turn(number);
            if request(&mut open, number).is_ok() {
                self.answered.fetch_add(1, Relaxed);
                connection = Some(open);
            }
        }
    }

    /// Request `n` is due `n / per_second` after the start, however long the others took.
    fn wait_for_turn(&self, number: u64) {
        let due = Duration::from_secs_f64(number as f64 / self.per_second as f64);
        sleep(due.saturating_sub(self.start.elapsed()));
    }
}

fn request(connection: &mut Connection, number: u64) -> Result<()> {
    let answer = connection.get(&format!("/req/{number:06}"))?;
    ensure!(answer.status == 200, "answered with status {}", answer.status);
    Ok(())
}
