//! Checks when and how a log is rotated.

use std::time::Duration;

use super::at::At;
use crate::defaults;
use crate::raw;
use crate::types::{
    Archive, Fallback, Method, Process, Reopen, ReopenAction, Retention, Rotate, When, WhenUnconfirmed,
};
use crate::units::{ByteSize, Schedule};

/// The shortest and longest wait for an app to reopen.
const REOPEN_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// An archive must live long enough to be seen.
const LEAST_AGE: Duration = Duration::from_secs(60);

/// Every archive is a name to remember.
const MOST_ARCHIVES: u32 = 100_000;

/// `forwarded` says whether the log is forwarded, so that its archives can be confirmed.
pub(super) fn read(raw: &raw::Rotate, forwarded: bool, at: &At) -> Option<Rotate> {
    let when = match &raw.when {
        Some(raw) => when(raw, &at.key("when")),
        None => {
            at.missing("when", "write for example {\"size\": \"100Mi\"} or {\"schedule\": \"@daily\"}");
            None
        }
    };
    let method = at.or("method", &raw.method, Method::Rename);
    at.later("allowLoss", &raw.allow_loss);
    let reopen = match &raw.reopen {
        Some(raw) => reopen(raw, &at.key("reopen")),
        None => {
            at.missing(
                "reopen",
                "write how the app is told to reopen its file: {\"signal\": …} or {\"none\": {}}",
            );
            None
        }
    };
    let archive = raw.archive.as_ref().map_or(defaults::archive(), |raw| archive(raw, &at.key("archive")));
    let retention = match &raw.retention {
        Some(raw) => Some(retention(raw, forwarded, &at.key("retention"))),
        None => {
            at.missing(
                "retention",
                "write how much to keep: count, age or totalSize, such as {\"count\": 4}",
            );
            None
        }
    };
    let mode = at.optional("mode", &raw.mode);
    Some(Rotate { when: when?, method, reopen: reopen?, archive, retention: retention?, mode })
}

fn when(raw: &raw::When, at: &At) -> Option<When> {
    let size: Option<ByteSize> = at.optional("size", &raw.size);
    let schedule = schedule(raw, at);
    let min_size = at.or("minSize", &raw.min_size, defaults::MIN_SIZE);
    let if_empty = at.or("ifEmpty", &raw.if_empty, false);
    if raw.size.is_none() && raw.schedule.is_none() {
        at.wrong("has neither size nor schedule; write at least one of them");
    }
    if size == Some(ByteSize(0)) {
        at.key("size").wrong("is 0; write at least 1");
    } else if let Some(size) = size.filter(|size| min_size > *size) {
        at.key("minSize").wrong(format!("\"{min_size}\" is more than size \"{size}\"; write at most that"));
    }
    if if_empty && min_size.bytes() > 0 {
        at.key("minSize").wrong("contradicts ifEmpty; leave one of them out");
    }
    Some(When { size, schedule, min_size, if_empty })
}

fn schedule(raw: &raw::When, at: &At) -> Option<Schedule> {
    let zone: Option<String> = at.optional("timeZone", &raw.time_zone);
    if raw.schedule.is_none() {
        at.refuse(
            "timeZone",
            &raw.time_zone,
            "has no meaning without schedule; leave it out or write a schedule",
        );
        return None;
    }
    let text: String = at.optional("schedule", &raw.schedule)?;
    let zone = zone.unwrap_or_else(|| defaults::TIME_ZONE.to_owned());
    at.key("timeZone").note(Schedule::check_time_zone(&zone))?;
    at.key("schedule").note(Schedule::new(&text, &zone))
}

fn reopen(raw: &raw::Reopen, at: &At) -> Option<Reopen> {
    at.refuse("preset", &raw.preset, "is not known to the sidecar; write the signal that it stands for");
    at.later("http", &raw.http);
    at.later("fifo", &raw.fifo);
    let elsewhere = raw.preset.is_some() || raw.http.is_some() || raw.fifo.is_some();
    let action = match (&raw.signal, &raw.none) {
        (Some(raw), None) => signal(raw, &at.key("signal")),
        (None, Some(_)) => Some(ReopenAction::None),
        (Some(_), Some(_)) => {
            at.wrong("has both signal and none; leave one of them out");
            None
        }
        (None, None) if elsewhere => None,
        (None, None) => {
            at.wrong("has neither signal nor none; write one of them");
            None
        }
    };
    let range = REOPEN_TIMEOUTS.0..=REOPEN_TIMEOUTS.1;
    let timeout = at.within("timeout", &raw.timeout, defaults::REOPEN_TIMEOUT, range);
    let fallback = at.or("fallback", &raw.fallback, Fallback::Wait);
    Some(Reopen { action: action?, timeout, fallback })
}

fn signal(raw: &raw::Signal, at: &At) -> Option<ReopenAction> {
    let signal = at.required("name", &raw.name, "write SIGUSR1, SIGUSR2 or SIGHUP");
    let process = match &raw.process {
        Some(raw) => process(raw, &at.key("process")),
        None => {
            at.missing("process", "write which process gets the signal: commandPattern or pidFile");
            None
        }
    };
    Some(ReopenAction::Signal { signal: signal?, process: process? })
}

fn process(raw: &raw::Process, at: &At) -> Option<Process> {
    if raw.command_pattern.is_none() && raw.pid_file.is_none() {
        at.wrong("has neither commandPattern nor pidFile; write at least one of them");
        return None;
    }
    let command_pattern = at.optional("commandPattern", &raw.command_pattern);
    let pid_file = at.optional("pidFile", &raw.pid_file);
    Some(Process { command_pattern, pid_file })
}

fn archive(raw: &raw::Archive, at: &At) -> Archive {
    let default = defaults::archive();
    let directory = at.optional("directory", &raw.directory);
    let naming = at.or("naming", &raw.naming, default.naming);
    let compression = at.or("compression", &raw.compression, default.compression);
    Archive { directory, naming, compression }
}

fn retention(raw: &raw::Retention, forwarded: bool, at: &At) -> Retention {
    if raw.count.is_none() && raw.age.is_none() && raw.total_size.is_none() {
        at.wrong("has no limit; write at least one of count, age and totalSize");
    }
    let count = at.optional("count", &raw.count);
    if count == Some(0) && !forwarded {
        at.key("count")
            .wrong("is 0 for a log that is not forwarded, so every archive would be lost; write at least 1");
    } else if let Some(count) = count.filter(|count| *count > MOST_ARCHIVES) {
        at.key("count").wrong(format!("{count} is too much; write at most {MOST_ARCHIVES}"));
    }
    let age: Option<Duration> = at.optional("age", &raw.age);
    if let Some(age) = age {
        at.check_range("age", &age, LEAST_AGE..=Duration::MAX);
    }
    let total_size = at.optional("totalSize", &raw.total_size);
    if total_size == Some(ByteSize(0)) {
        at.key("totalSize").wrong("is 0; write at least 1");
    }
    let when_unconfirmed = at.or("whenUnconfirmed", &raw.when_unconfirmed, WhenUnconfirmed::Keep);
    Retention { count, age, total_size, when_unconfirmed }
}
