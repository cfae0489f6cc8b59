//! Loopback ports and waiting: out, a port nobody listens on, and whether somebody does.
//!
//! Ports are taken from below the range the kernel uses for outgoing connections (32768 and up by
//! default). Otherwise a client that keeps trying a port whose server is down sooner or later gets that
//! very port as its own source and connects to itself.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const LOWEST: u64 = 10_000;
const HIGHEST: u64 = 32_000;

/// How often [`wait_until`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A TCP listener on 127.0.0.1, at a port that no outgoing connection will ever take.
pub fn listener() -> Result<TcpListener> {
    for _ in 0..1000 {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, candidate())) {
            return Ok(listener);
        }
    }
    bail!("no free port between {LOWEST} and {HIGHEST}")
}

/// A port on 127.0.0.1 that was free a moment ago, for a server that is started later.
pub fn free() -> Result<u16> {
    Ok(listener()?.local_addr()?.port())
}

/// `127.0.0.1:port`.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Whether some process of this network namespace listens on the TCP port.
///
/// Read from /proc (see proc_net(5)) and not found out by connecting, so that the server sees nothing of it.
pub fn is_listening(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .any(|table| table.lines().skip(1).any(|line| listens(line, port)))
}

/// Waits until somebody listens on the port; an error after `limit`.
pub fn wait_listening(port: u16, limit: Duration) -> Result<()> {
    wait_until(limit, &format!("somebody to listen on port {port}"), || is_listening(port))
}

/// Waits until `done` says so; an error that names `what` after `limit`.
pub fn wait_until(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs_f32());
        }
        sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Differs between threads (the counter) and between processes (the random keys of the hasher).
fn candidate() -> u16 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNTER.fetch_add(1, Ordering::Relaxed));
    let port = LOWEST + hasher.finish() % (HIGHEST - LOWEST);
    u16::try_from(port).unwrap_or(u16::MAX)
}

/// A line of /proc/net/tcp: number, local address:port in hex, remote, state (0A is LISTEN).
fn listens(line: &str, port: u16) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next().unwrap_or_default();
    let state = fields.nth(1).unwrap_or_default();
    state == "0A" && local.rsplit(':').next() == Some(&format!("{port:04X}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_seen_and_its_end_too() {
        let listener = listener().unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(u64::from(port) < HIGHEST);
        wait_listening(port, Duration::from_secs(5)).unwrap();
        drop(listener);
        wait_until(Duration::from_secs(5), "the port to close", || !is_listening(port)).unwrap();
    }

    #[test]
    fn a_line_of_the_table_counts_only_in_state_listen_and_for_its_port() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        assert!(listens(line, 8080));
        assert!(!listens(line, 8081));
        assert!(!listens(&line.replace(" 0A ", " 01 "), 8080));
    }

    #[test]
    fn waiting_in_vain_names_what_was_waited_for() {
        let error = wait_until(Duration::from_millis(1), "a miracle", || false).unwrap_err();
        assert!(error.to_string().ends_with("in vain for a miracle"));
    }
}
