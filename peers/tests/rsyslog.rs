//! The real rsyslog over TLS against a plain sender: both drivers take octet-counted messages, check the
//! client as asked, and close as facts about them say.

#![cfg(test)]

use std::time::Duration;

use capstan_peers::certificates;
use capstan_peers::client::{Client, End};
use capstan_peers::ports::wait_until;
use capstan_peers::rsyslog::{ClientCheck, Driver, Rsyslog, Settings};

const LIMIT: Duration = Duration::from_secs(20);
const MESSAGE: &[u8] = b"<134>1 2026-01-01T00:00:00Z host app - id - w00 000000000 x";

fn frame() -> Vec<u8> {
    [format!("{} ", MESSAGE.len()).as_bytes(), MESSAGE].concat()
}

#[test]
fn both_drivers_store_what_came_over_tls_and_end_with_fin() {
    let directory = tempfile::tempdir().unwrap();
    let made = certificates::create(directory.path()).unwrap();
    for (driver, answers_close_notify) in [(Driver::OpenSsl, true), (Driver::GnuTls, false)] {
        let place = directory.path().join(format!("{driver:?}"));
        let settings = Settings { driver, ..Settings::default() };
        let mut rsyslog = Rsyslog::start(&place, &made, &settings).unwrap();
        let mut client = Client::connect_tls(rsyslog.port(), &made.ca, None).unwrap();
        client.send(&frame().repeat(100)).unwrap();
        let seen = client.close().unwrap();
        assert_eq!((seen.close_notify, seen.end), (answers_close_notify, End::Eof), "{driver:?}");
        wait_until(LIMIT, "the messages", || rsyslog.lines().unwrap().len() == 100).unwrap();
        assert!(rsyslog.lines().unwrap().iter().all(|line| line == MESSAGE));
        rsyslog.terminate().unwrap();
    }
}

#[test]
fn only_a_client_with_the_right_certificate_is_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let made = certificates::create(directory.path()).unwrap();
    for driver in [Driver::OpenSsl, Driver::GnuTls] {
        let place = directory.path().join(format!("{driver:?}"));
        let settings = Settings { driver, client_check: ClientCheck::Named, ..Settings::default() };
        let rsyslog = Rsyslog::start(&place, &made, &settings).unwrap();
        for identity in [None, Some(&made.client_of_other_ca), Some(&made.server), Some(&made.client)] {
            // Whether the refused one notices before or after it has sent is not the point.
            let sent = Client::connect_tls(rsyslog.port(), &made.ca, identity).and_then(|mut client| {
                client.send(&frame())?;
                Ok(client.close()?)
            });
            drop(sent);
        }
        wait_until(LIMIT, "the message", || !rsyslog.lines().unwrap().is_empty()).unwrap();
        assert_eq!(rsyslog.lines().unwrap(), [MESSAGE], "{driver:?}: {}", rsyslog.log());
    }
}
