//! Every configuration there can be.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use capstan_config::{
    Archive, ByteSize, ClientCertificate, Compression, Config, Delivery, Destination, Endpoint, Facility,
    Fallback, Files, Format, Forward, Framing, Hostname, HostnameSource, Log, Metadata, MetadataSource,
    MetadataValue, Method, Mode, Naming, Param, PathPattern, Process, ReadFrom, Reopen, ReopenAction,
    Retention, Rotate, Schedule, SdElement, SdId, Severity, Signal, Syslog, Tls, TlsVersion, Transport, When,
    WhenUnconfirmed,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const NAME: &str = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";
const SD_NAME: &str = "[!#-<>-\\\\^-~]{1,32}";
const HOST: &str = "[a-z0-9_]([A-Za-z0-9_-]{0,20}[a-z0-9])?(\\.[a-z]{2,10}){0,3}\\.com\\.?";

/// A configuration.
pub fn config() -> impl Strategy<Value = Config> {
    let destinations = vec(syslog(), 0..4).prop_map(|all| numbered(all, "to", destination));
    let logs = vec((vec(pattern(), 1..4), vec(exclude(), 0..4), any::<bool>(), size(64, 16 << 20)), 1..4);
    let parts = (NAME, destinations, logs, vec(rotate(), 4), vec(forward(), 4), vec(any::<u8>(), 4));
    parts.prop_map(|(policy, destinations, logs, rotates, forwards, choices)| {
        let parts = logs.into_iter().zip(rotates).zip(forwards).zip(choices).collect();
        let logs = numbered(parts, "log", |name, (((files, rotate), forward), choice)| {
            log(name, files, rotate, forward, &destinations, choice)
        });
        Config { policy: parsed(&policy), logs, destinations }
    })
}

/// Makes one of each, with a name of its own.
fn numbered<T, U>(parts: Vec<T>, prefix: &str, make: impl Fn(&str, T) -> U) -> Vec<U> {
    parts.into_iter().enumerate().map(|(i, part)| make(&format!("{prefix}-{i}"), part)).collect()
}

fn destination(name: &str, syslog: Syslog) -> Destination {
    Destination { name: parsed(name), syslog }
}

/// Rotates, forwards or both, as `choice` has it and destinations allow.
fn log(
    name: &str,
    (include, exclude, from_end, max_line): (Vec<PathPattern>, Vec<PathPattern>, bool, ByteSize),
    mut rotate: Rotate,
    mut forward: Forward,
    destinations: &[Destination],
    choice: u8,
) -> Log {
    let forwards = !destinations.is_empty() && !choice.is_multiple_of(3);
    let rotates = !forwards || choice % 3 == 1;
    if forwards {
        forward.destinations = vec![destinations[usize::from(choice) % destinations.len()].name.clone()];
    } else if rotate.retention.count == Some(0) {
        rotate.retention.count = Some(1);
    }
    Log {
        name: parsed(name),
        files: Files { include, exclude },
        container: choice.is_multiple_of(2).then(|| parsed("app-1")),
        read_from: if from_end { ReadFrom::End } else { ReadFrom::Beginning },
        max_line,
        rotate: rotates.then_some(rotate),
        forward: forwards.then_some(forward),
    }
}

fn rotate() -> impl Strategy<Value = Rotate> {
    let parts =
        (when(), reopen(), archive(), retention(), option::of(select(vec!["0600", "0640", "0644", "0666"])));
    parts.prop_map(|(when, reopen, archive, retention, mode)| Rotate {
        when,
        method: Method::Rename,
        reopen,
        archive,
        retention,
        mode: mode.map(parsed),
    })
}

fn when() -> impl Strategy<Value = When> {
    let parts = (option::of(size(1, u64::MAX)), schedule(), any::<bool>(), any::<bool>(), 0..=u64::MAX);
    parts.prop_map(|(size, schedule, scheduled, if_empty, min_size)| When {
        size,
        schedule: (scheduled || size.is_none()).then_some(schedule),
        min_size: match (if_empty, size) {
            (true, _) => ByteSize(0),
            (false, Some(size)) => ByteSize(min_size.min(size.bytes())),
            (false, None) => ByteSize(min_size),
        },
        if_empty,
    })
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let nicknames =
        select(vec!["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"]);
    let fields =
        "(\\*|\\*/[1-9]|[1-5]?[0-9]) (\\*|1?[0-9]|2[0-3]) (\\*|1?[1-9]|L) (\\*|[1-9]|JAN-JUN) (\\*|[0-7]|5L)";
    let zones =
        select(vec!["UTC", "Asia/Seoul", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]);
    let texts = prop_oneof![nicknames.prop_map(str::to_owned), fields];
    (texts, zones).prop_filter_map("never comes true", |(text, zone)| Schedule::new(&text, zone).ok())
}

fn reopen() -> impl Strategy<Value = Reopen> {
    let signals = select(Signal::ALL.to_vec());
    let patterns = prop_oneof![Just("gunicorn: master".to_owned()), "(\\(\\?u\\))?[a-z .*+^$]{1,20}"]
        .prop_filter_map("does not compile", |text| text.parse().ok());
    let process = prop_oneof![
        (patterns, option::of(absolute())).prop_map(|(pattern, file)| (Some(pattern), file)),
        absolute().prop_map(|file| (None, Some(file))),
    ];
    let signal = (signals, process).prop_map(|(signal, (command_pattern, pid_file))| ReopenAction::Signal {
        signal,
        process: Process { command_pattern, pid_file: pid_file.map(|path| parsed(&path)) },
    });
    let actions = prop_oneof![Just(ReopenAction::None), signal];
    let timeout = duration(1_000, 86_400_000);
    (actions, timeout).prop_map(|(action, timeout)| Reopen { action, timeout, fallback: Fallback::Wait })
}

fn archive() -> impl Strategy<Value = Archive> {
    let compressions = select(vec![Compression::None, Compression::Gzip]);
    (option::of("[a-z]{1,9}(/[a-zä.]{3,9}){0,3}"), compressions).prop_map(|(directory, compression)| {
        Archive {
            directory: directory.and_then(|text| text.parse().ok()),
            naming: Naming::Timestamp,
            compression,
        }
    })
}

fn retention() -> impl Strategy<Value = Retention> {
    let age = option::of(duration(60_000, 36_525 * 86_400_000));
    let parts = (option::of(0..=100_000_u32), age, size(1, u64::MAX), any::<bool>(), any::<bool>());
    parts.prop_map(|(count, age, total_size, sized, delete)| Retention {
        count,
        age,
        total_size: (sized || (count.is_none() && age.is_none())).then_some(total_size),
        when_unconfirmed: if delete { WhenUnconfirmed::Delete } else { WhenUnconfirmed::Keep },
    })
}

/// To no destination yet.
fn forward() -> impl Strategy<Value = Forward> {
    use Facility::{Alert, Audit, AuthPriv, Clock, Cron, Kern, Local0, Local7, User};
    use Severity::{Alert as Urgent, Critical, Debug, Emergency, Error, Info, Notice, Warning};
    let facilities = select(vec![Kern, User, Cron, AuthPriv, Audit, Alert, Clock, Local0, Local7]);
    let severities = select(vec![Emergency, Urgent, Critical, Error, Warning, Notice, Info, Debug]);
    let parts =
        (option::of(hostname()), option::of("[!-~]{1,48}"), facilities, severities, vec(metadata(), 0..4));
    parts.prop_map(|(hostname, app_name, facility, severity, metadata)| Forward {
        destinations: Vec::new(),
        hostname,
        app_name,
        facility,
        severity,
        metadata,
    })
}

fn syslog() -> impl Strategy<Value = Syslog> {
    let addresses = prop_oneof![HOST, Just("192.0.2.1".to_owned()), Just("2001:db8::1".to_owned())];
    let endpoints = vec((addresses, 1..=u16::MAX).prop_map(|(host, port)| Endpoint { host, port }), 1..4);
    let framings = select(vec![Framing::OctetCounting, Framing::LineFeed, Framing::Nul]);
    let parts =
        (endpoints, framings, size(480, 16 << 20), elements(), any::<bool>(), option::of(tls()), delivery());
    parts.prop_map(|(endpoints, framing, max_message, structured_data, position_element, tls, delivery)| {
        Syslog {
            endpoints,
            transport: if tls.is_some() { Transport::Tls } else { Transport::Tcp },
            format: Format::Rfc5424,
            framing,
            max_message,
            structured_data,
            position_element,
            tls,
            delivery,
        }
    })
}

/// Elements with names of their own.
fn elements() -> impl Strategy<Value = Vec<SdElement>> {
    let ids =
        prop_oneof![SD_NAME.prop_map(SdId::Literal), absolute().prop_map(|path| SdId::File(parsed(&path))),];
    let elements = (ids, vec(param(), 0..4)).prop_map(|(id, params)| SdElement { id, params });
    vec(elements, 0..4).prop_map(|mut elements| {
        let mut seen = Vec::new();
        elements.retain(|element| {
            let fresh = !seen.contains(&element.id);
            seen.push(element.id.clone());
            fresh
        });
        elements
    })
}

fn tls() -> impl Strategy<Value = Tls> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 20).prop_map(|bytes| hex("sha-1", &bytes)),
        vec(any::<u8>(), 32).prop_map(|bytes| hex("sha-256", &bytes)),
    ];
    let trust = prop_oneof![
        option::of(absolute()).prop_map(|path| (path, Vec::new())),
        vec(bytes, 1..3).prop_map(|fingerprints| (None, fingerprints)),
    ];
    let versions = select(vec![TlsVersion::Tls12, TlsVersion::Tls13]);
    let parts = (option::of(HOST), trust, option::of((absolute(), absolute())), versions);
    parts.prop_map(|(server_name, (ca_file, fingerprints), pair, min_version)| Tls {
        server_name,
        ca_file: ca_file.map(|path| parsed(&path)),
        client_certificate: pair.map(|(certificate, key)| ClientCertificate {
            certificate_file: parsed(&certificate),
            key_file: parsed(&key),
        }),
        fingerprints: fingerprints.iter().map(|text| parsed(text)).collect(),
        min_version,
    })
}

fn hex(algorithm: &str, bytes: &[u8]) -> String {
    bytes.iter().fold(algorithm.to_owned(), |text, byte| format!("{text}:{byte:02x}"))
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let timeouts = vec(duration(100, 86_400_000), 6);
    (duration(0, 3_600_000), size(4 << 10, 64 << 30), timeouts).prop_map(
        |(replay_margin, roll_bytes, timeouts)| Delivery {
            mode: Mode::AtLeastOnce,
            replay_margin,
            roll_bytes,
            roll_age: timeouts[0],
            roll_idle: timeouts[1],
            connect_timeout: timeouts[2],
            handshake_timeout: timeouts[3],
            write_timeout: timeouts[4],
            close_timeout: timeouts[5],
        },
    )
}

fn hostname() -> impl Strategy<Value = Hostname> {
    use HostnameSource::{Node, Pod, Workload};
    let sources = select(vec![Pod, Node, Workload]);
    prop_oneof!["[!-~]{1,255}".prop_map(Hostname::Literal), sources.prop_map(Hostname::From)]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    use MetadataSource::{Container, Namespace, Node, Pod, PodUid, Workload};
    let sources = select(vec![Namespace, Pod, PodUid, Container, Node, Workload]);
    let values =
        prop_oneof![".{0,40}".prop_map(MetadataValue::Literal), sources.prop_map(MetadataValue::From),];
    (SD_NAME, values).prop_map(|(name, value)| Metadata { name, value })
}

fn param() -> impl Strategy<Value = Param> {
    (SD_NAME, ".{0,40}").prop_map(|(name, value)| Param { name, value })
}

/// Patterns of whole paths, of parts that are likely to disagree.
fn pattern() -> impl Strategy<Value = PathPattern> {
    let parts = select(vec!["var", "log", "*", "**", "a[0-9]", "{x,y}", "a?.log", "ä b", "\\*", "[!a-z]*"]);
    vec(parts, 1..6)
        .prop_filter_map("searches the whole machine", |parts| format!("/{}", parts.join("/")).parse().ok())
}

fn exclude() -> impl Strategy<Value = PathPattern> {
    prop_oneof![pattern(), select(vec!["*debug*", "*.tmp", "app.log", "*"]).prop_map(parsed)]
}

fn absolute() -> impl Strategy<Value = String> {
    "(/[a-zA-Z0-9 ä\"\\\\_-]{1,9}){1,4}"
}

/// Round sizes and odd ones, within bounds.
fn size(least: u64, most: u64) -> impl Strategy<Value = ByteSize> {
    let units = select(vec![1, 1_000, 1 << 10, 1_000_000, 1 << 20, 1 << 30]);
    let round = (1..2_000_u64, units).prop_map(|(number, unit)| number * unit);
    prop_oneof![round, least..=most].prop_map(move |bytes| ByteSize(bytes.clamp(least, most)))
}

/// Round times and odd ones, within bounds, in milliseconds.
fn duration(least: u64, most: u64) -> impl Strategy<Value = Duration> {
    let round =
        (1..100_u64, select(vec![1_000, 60_000, 86_400_000])).prop_map(|(number, unit)| number * unit);
    prop_oneof![round, least..=most].prop_map(move |time| Duration::from_millis(time.clamp(least, most)))
}

fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}
