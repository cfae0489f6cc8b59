//! A syslog receiver that records what it reads: in, TCP or TLS connections; out, messages and reports.
//!
//! It takes part in one process with its test, so that it can be slowed, stalled and broken while it runs.
//! [`process::CollectorProcess`] is the same as a process of its own, which can be killed. A message counts
//! as received when it was read and taken out of its frame, not earlier.

mod connection;
pub mod process;
mod settings;
mod sink;
mod wire;

pub use settings::{Answer, Ending, Faults, OnMessage, Settings, Store, Tls, Versions};

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ProtocolVersion, ServerConfig};

use crate::ports;
use connection::Connection;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The connection it came by, numbered from 0 in the order of accepting.
    pub connection: u64,
    /// The message without its frame.
    pub bytes: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ended {
    /// It has not.
    #[default]
    Not,
    /// The client closed as it should: close_notify, or FIN without TLS.
    ByClient,
    /// The client sent FIN without close_notify.
    WithoutCloseNotify,
    /// A fault that was asked for.
    ByUs(Ending),
    /// The collector was stopped.
    Stopped,
    /// An error: a reset, a bad frame, a failed handshake.
    Broken(String),
}

/// What is known of one connection.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// TLS version; `None` before the handshake is done and without TLS.
    pub tls_version: Option<ProtocolVersion>,
    /// The server name the client sent.
    pub server_name: Option<String>,
    /// Whether the client showed a certificate that was accepted.
    pub client_certificate: bool,
    /// Plaintext bytes read, frames included.
    pub bytes: u64,
    /// Whole messages read.
    pub messages: u64,
    /// Bytes of a last message that is not whole.
    pub incomplete_bytes: usize,
    /// How it ended.
    pub ended: Ended,
}

/// A running collector; dropping it stops it and closes its connections.
pub struct Collector {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<Accepting>,
}

struct Accepting {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct Shared {
    settings: Settings,
    tls: Option<Arc<ServerConfig>>,
    knobs: Knobs,
    kept: Arc<Mutex<Vec<Message>>>,
    reports: Mutex<Vec<Report>>,
    bytes: AtomicU64,
    messages: AtomicU64,
}

#[derive(Default)]
struct Knobs {
    stop: AtomicBool,
    stalled: AtomicBool,
    /// 0 means no limit.
    bytes_per_second: AtomicU64,
    /// How many times connections were told to end, and how the last time.
    endings: AtomicU64,
    ending: Mutex<Option<Ending>>,
}

impl Knobs {
    fn ending(&self) -> Ending {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(Ending::Reset)
    }
}

impl Shared {
    fn reports(&self) -> MutexGuard<'_, Vec<Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    /// Listens and returns.
    pub fn start(settings: Settings) -> Result<Self> {
        let tls = settings.tls.as_ref().map(settings::server_config).transpose()?;
        let listener = match settings.port {
            Some(port) => listen(port)?,
            None => ports::listener()?,
        };
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            settings,
            tls,
            knobs: Knobs::default(),
            kept: Arc::default(),
            reports: Mutex::default(),
            bytes: AtomicU64::new(0),
            messages: AtomicU64::new(0),
        });
        let accepting = Some(accept_in_background(&shared, listener)?);
        Ok(Self { shared, port, accepting })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Messages received so far, in the order of reading ([`Store::Memory`] only).
    pub fn messages(&self) -> Vec<Message> {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many messages were received so far.
    pub fn message_count(&self) -> u64 {
        self.shared.messages.load(Relaxed)
    }

    /// How many bytes were received so far, frames included.
    pub fn byte_count(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }

    /// One report for each connection so far, in the order of accepting.
    pub fn reports(&self) -> Vec<Report> {
        self.shared.reports().clone()
    }

    /// Waits until at least `count` messages were received; an error after `limit`.
    pub fn wait_for_messages(&self, count: u64, limit: Duration) -> Result<()> {
        let waited = ports::wait_until(limit, "messages", || self.message_count() >= count);
        waited.with_context(|| format!("{} of {count} messages received", self.message_count()))
    }

    /// Stops reading on all connections, or goes on.
    pub fn stall(&self, stalled: bool) {
        self.shared.knobs.stalled.store(stalled, Relaxed);
    }

    /// Limits what each connection reads, in bytes per second as they are on the wire; `None` for no limit.
    pub fn limit_rate(&self, bytes_per_second: Option<u64>) {
        // Less than one byte per read is no rate.
        let rate = bytes_per_second.map_or(0, |rate| rate.max(100));
        self.shared.knobs.bytes_per_second.store(rate, Relaxed);
    }

    /// Ends every connection that is open now.
    pub fn end_connections(&self, ending: Ending) {
        *self.shared.knobs.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending);
        self.shared.knobs.endings.fetch_add(1, Relaxed);
    }

    /// Stops listening: whoever connects is refused. Open connections go on.
    pub fn refuse(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.stop.store(true, Relaxed);
            // A panic in that thread has been printed already.
            drop(accepting.thread.join());
        }
    }

    /// Listens again on the same port.
    pub fn accept_again(&mut self) -> Result<()> {
        self.refuse();
        self.accepting = Some(accept_in_background(&self.shared, listen(self.port)?)?);
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.knobs.stop.store(true, Relaxed);
        self.refuse();
    }
}

fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("cannot listen on port {port}"))
}

fn accept_in_background(shared: &Arc<Shared>, listener: TcpListener) -> Result<Accepting> {
    if let Some(bytes) = shared.settings.receive_buffer_bytes {
        // Accepted sockets inherit it; it has to be set before, so that the window is small from the start.
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, bytes)?;
    }
    listener.set_nonblocking(true)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (shared, stopped) = (shared.clone(), stop.clone());
    let thread = thread::spawn(move || accept(&shared, &listener, &stopped));
    Ok(Accepting { stop, thread })
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener, stop: &AtomicBool) {
    let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !stop.load(Relaxed) {
        let mut ready = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        let readable = poll(&mut ready, Some(&wait)).is_ok_and(|count| count > 0);
        if !readable {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        if stream.set_nonblocking(false).is_err() {
            continue;
        }
        let number = {
            let mut reports = shared.reports();
            reports.push(Report::default());
            reports.len() as u64 - 1
        };
        let connection = Connection::new(shared.clone(), number);
        thread::spawn(move || connection.serve(stream));
    }
}
