//! Against a real rsyslog with both of its TLS drivers: what a connection says was taken is stored.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod connection_support;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use capstan_peers::certificates::{self, Certificates};
use capstan_peers::ports::wait_until;
use capstan_peers::rsyslog::{ClientCheck, Driver, Queue, Rsyslog, Settings};
use capstan_sidecar::forward::connection::{Closed, Connection, Deadlines, Target};
use connection_support::{LONG, frames, message, plain_target, send, tls_settings, tls_target, with_client};
use tokio::time::timeout;

const DRIVERS: [Driver; 3] = [Driver::OpenSsl, Driver::GnuTls, Driver::Plain];

fn target(rsyslog: &Rsyslog, driver: Driver, made: &Certificates) -> Target {
    match driver {
        Driver::Plain => plain_target(rsyslog.port()),
        Driver::OpenSsl | Driver::GnuTls => {
            tls_target(rsyslog.port(), with_client(tls_settings(made), &made.client))
        }
    }
}

fn start(directory: &Path, made: &Certificates, driver: Driver, queue: Queue) -> Rsyslog {
    let settings = Settings { driver, client_check: ClientCheck::Named, queue, ..Settings::default() };
    Rsyslog::start(directory, made, &settings).unwrap()
}

/// Opens a connection, sends messages and closes. `None`: it could not be opened, or broke before.
async fn deliver(target: &Target, numbers: Range<u64>) -> Option<Closed> {
    let mut connection =
        timeout(LONG, Connection::open(target, &Deadlines::default())).await.unwrap().ok()?;
    send(&mut connection, &frames(numbers, 200)).await.ok()?;
    Some(connection.close(LONG).await)
}

fn stored(rsyslog: &Rsyslog) -> HashSet<Vec<u8>> {
    rsyslog.lines().unwrap().into_iter().collect()
}

#[tokio::test]
async fn mutual_tls_and_octet_counting_work_with_every_driver() {
    for driver in DRIVERS {
        let directory = tempfile::tempdir().unwrap();
        let made = certificates::create(directory.path()).unwrap();
        let rsyslog = start(directory.path(), &made, driver, Queue::Memory);
        let target = target(&rsyslog, driver, &made);
        for round in 0..10 {
            let closed = deliver(&target, round * 1000..(round + 1) * 1000).await;
            assert!(matches!(closed, Some(Closed::Confirmed)), "{driver:?}: {closed:?} {}", rsyslog.log());
        }
        wait_until(LONG, "rsyslog to store", || rsyslog.lines().unwrap().len() >= 10_000).unwrap();
        let expected: Vec<_> = (0..10_000).map(|number| message(number, 200)).collect();
        assert!(rsyslog.lines().unwrap() == expected, "{driver:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_rsyslog_does_not_permit_gets_nothing_through() {
    for driver in [Driver::OpenSsl, Driver::GnuTls] {
        let directory = tempfile::tempdir().unwrap();
        let made = certificates::create(directory.path()).unwrap();
        let rsyslog = start(directory.path(), &made, driver, Queue::Memory);
        for settings in [tls_settings(&made), with_client(tls_settings(&made), &made.client_of_other_ca)] {
            let closed = deliver(&tls_target(rsyslog.port(), settings), 0..100).await;
            assert!(matches!(closed, None | Some(Closed::Unproven(_))), "{driver:?}: {closed:?}");
        }
        assert!(stored(&rsyslog).is_empty(), "{driver:?}");
    }
}

/// Sends connection after connection while rsyslog is stopped; what was confirmed has to be stored in the end, but for
/// the last `in_hand` connections, which it may have read and not stored when it was killed.
async fn stop_under_load(
    driver: Driver,
    queue: Queue,
    after: Duration,
    in_hand: usize,
    stop: fn(&mut Rsyslog),
) -> usize {
    const BATCH: u64 = 5000;
    let directory = tempfile::tempdir().unwrap();
    let made = certificates::create(directory.path()).unwrap();
    let mut rsyslog = start(directory.path(), &made, driver, queue);
    let target = target(&rsyslog, driver, &made);
    let stopping = std::thread::spawn(move || {
        std::thread::sleep(after);
        stop(&mut rsyslog);
        rsyslog
    });
    let mut confirmed = Vec::new();
    for round in 0.. {
        let numbers = round * BATCH..(round + 1) * BATCH;
        match deliver(&target, numbers.clone()).await {
            Some(Closed::Confirmed) => confirmed.push(numbers),
            _ if stopping.is_finished() => break,
            _ => {}
        }
    }
    let stored = stored(&stopping.join().unwrap());
    for numbers in confirmed.iter().rev().skip(in_hand) {
        let missing = numbers.clone().filter(|&number| !stored.contains(&message(number, 200))).count();
        assert_eq!(missing, 0, "{driver:?} stopped after {after:?}: confirmed {numbers:?}, but not stored");
    }
    confirmed.len()
}

#[tokio::test]
async fn what_was_confirmed_is_stored_although_rsyslog_is_stopped_under_load() {
    for driver in DRIVERS {
        let mut confirmed = 0;
        for round in 0..8 {
            let after = Duration::from_millis(40 + 37 * round);
            let terminate = |rsyslog: &mut Rsyslog| {
                rsyslog.terminate().unwrap();
            };
            confirmed += stop_under_load(driver, Queue::Memory, after, 0, terminate).await;
        }
        assert!(confirmed > 0, "{driver:?}: nothing was ever confirmed, so nothing was tested");
    }
}

#[tokio::test]
async fn rsyslog_that_is_killed_loses_at_most_what_it_had_just_read() {
    for driver in DRIVERS {
        let mut confirmed = 0;
        for round in 0..5 {
            let after = Duration::from_millis(100 + 53 * round);
            let kill = |rsyslog: &mut Rsyslog| {
                rsyslog.kill().unwrap();
            };
            confirmed += stop_under_load(driver, Queue::Direct, after, 1, kill).await;
        }
        assert!(confirmed > 0, "{driver:?}: nothing was ever confirmed, so nothing was tested");
    }
}

#[tokio::test]
async fn rsyslog_that_stops_is_noticed_while_idle() {
    for driver in DRIVERS {
        let directory = tempfile::tempdir().unwrap();
        let made = certificates::create(directory.path()).unwrap();
        let mut rsyslog = start(directory.path(), &made, driver, Queue::Memory);
        let target = target(&rsyslog, driver, &made);
        let mut connection = Connection::open(&target, &Deadlines::default()).await.unwrap();
        send(&mut connection, &frames(0..10, 200)).await.unwrap();
        let stopping = std::thread::spawn(move || rsyslog.terminate().unwrap());
        let broken = timeout(LONG, connection.watch()).await.unwrap();
        assert!(["close_notify", "fin", "reset"].contains(&broken.reason()), "{driver:?}: {broken:?}");
        stopping.join().unwrap();
    }
}
