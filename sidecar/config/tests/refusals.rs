//! What is refused, and with which words. Each case changes a file that is fine in one place or a few.
#![allow(clippy::unwrap_used, clippy::panic)]

use capstan_config::{ParseError, parse};
use serde_json::{Value, json};

/// A file that is fine and has one of everything.
fn good() -> Value {
    json!({
        "version": 1,
        "policy": "web",
        "logs": [{
            "name": "access",
            "files": { "include": ["/var/log/web/*.log"], "exclude": ["*debug*"] },
            "rotate": {
                "when": { "size": "1Mi", "schedule": "@daily", "timeZone": "UTC" },
                "reopen": { "signal": { "name": "SIGUSR1", "process": { "commandPattern": "web: master" } } },
                "archive": { "directory": "archive" },
                "retention": { "count": 4 },
                "mode": "0640"
            },
            "forward": { "destinations": [{ "name": "central" }], "metadata": [{ "name": "pod", "value": "web-0" }] }
        }],
        "destinations": [{
            "name": "central",
            "syslog": {
                "endpoints": [{ "host": "logs.example.com", "port": 6514 }],
                "structuredData": [{ "id": "tag@32473", "params": [{ "name": "tag", "value": "web" }] }],
                "tls": { "caFile": "/etc/ca.crt" },
                "delivery": { "replayMargin": "5s" }
            }
        }]
    })
}

/// Sets what `pointer` names (as in RFC 6901), or takes it away if the value is null.
fn change(file: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match file.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}")) {
        Value::Object(keys) if value.is_null() => assert!(keys.remove(key).is_some(), "nothing at {pointer}"),
        Value::Object(keys) => drop(keys.insert(key.to_owned(), value)),
        Value::Array(items) if key == "-" => items.push(value),
        other => *other.get_mut(key.parse::<usize>().unwrap()).unwrap() = value,
    }
}

/// Checks every line that is reported after some changes to the good file.
#[track_caller]
fn refused(changes: &[(&str, Value)], expected: &[&str]) {
    let mut file = good();
    for (pointer, value) in changes {
        change(&mut file, pointer, value.clone());
    }
    let error = parse(file.to_string().as_bytes()).unwrap_err().to_string();
    let found: Vec<&str> = error.lines().collect();
    assert_eq!(found, expected, "\n{error}");
}

/// Checks one line that is reported after one change.
#[track_caller]
fn check(pointer: &str, value: Value, expected: &str) {
    refused(&[(pointer, value)], &[expected]);
}

/// Checks the error for a text that is no file at all.
#[track_caller]
fn no_file(text: &str, expected: &ParseError, line: &str) {
    let error = parse(text.as_bytes()).unwrap_err();
    assert_eq!(&error, expected, "{text}");
    assert_eq!(error.to_string(), line);
}

#[test]
fn the_good_file_is_fine() {
    assert_eq!(parse(good().to_string().as_bytes()).map(|config| config.logs.len()), Ok(1));
}

#[test]
fn the_top_and_its_lists() {
    for (pointer, value, expected) in [
        ("/policy", json!(null), "policy: is missing; write the name of the policy"),
        (
            "/policy",
            json!("Web"),
            r#"policy: "Web" is not a name; write lower-case letters, digits and inner hyphens, such as "access-log""#,
        ),
        ("/logs", json!([]), "logs: is empty or missing; write at least 1"),
        ("/logs", json!({}), "logs: must be a list, not an object"),
        ("/logs", json!(null), "logs: is empty or missing; write at least 1"),
        ("/lgos", json!([]), "lgos: is not known; did you mean logs?"),
        ("/budget", json!({}), "budget: is not supported yet; leave it out"),
        (
            "/destinations",
            json!([]),
            r#"logs[0].forward.destinations[0].name: "central" is not among the destinations of this file; add it there"#,
        ),
        (
            "/destinations/-",
            json!({"name":"central","syslog":{"delivery":{"replayMargin":"5s"},"endpoints":[{"host":"logs.example.com","port":6514}],"structuredData":[{"id":"tag@32473","params":[{"name":"tag","value":"web"}]}],"tls":{"caFile":"/etc/ca.crt"}}}),
            r#"destinations[1].name: "central" comes twice; give each its own name"#,
        ),
        (
            "/logs/-",
            json!({"files":{"exclude":["*debug*"],"include":["/var/log/web/*.log"]},"forward":{"destinations":[{"name":"central"}],"metadata":[{"name":"pod","value":"web-0"}]},"name":"access","rotate":{"archive":{"directory":"archive"},"mode":"0640","reopen":{"signal":{"name":"SIGUSR1","process":{"commandPattern":"web: master"}}},"retention":{"count":4},"when":{"schedule":"@daily","size":"1Mi","timeZone":"UTC"}}}),
            r#"logs[1].name: "access" comes twice; give each its own name"#,
        ),
        ("/logs/0", json!("x"), "logs[0]: must be an object, not text"),
        ("/logs/0", json!([]), "logs[0]: must be an object, not a list"),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn a_log_and_its_files() {
    for (pointer, value, expected) in [
        (
            "/logs/0/name",
            json!("a_b"),
            r#"logs[0].name: "a_b" is not a name; write lower-case letters, digits and inner hyphens, such as "access-log""#,
        ),
        ("/logs/0/name", json!(5), "logs[0].name: must be text in quotes, not a number"),
        (
            "/logs/0/files",
            json!(null),
            r#"logs[0].files: is missing; write for example {"include": ["/var/log/app/*.log"]}"#,
        ),
        ("/logs/0/files", json!([["/a/b"]]), "logs[0].files: must be an object, not a list"),
        ("/logs/0/files/include", json!([]), "logs[0].files.include: is empty or missing; write at least 1"),
        ("/logs/0/files/include", json!("/a"), "logs[0].files.include: must be a list, not text"),
        (
            "/logs/0/files/include/0",
            json!("*.log"),
            r#"logs[0].files.include[0]: "*.log" is not absolute; write the path from the root, with a leading slash"#,
        ),
        (
            "/logs/0/files/include/0",
            json!({"a":1}),
            "logs[0].files.include[0]: must be text in quotes, not an object",
        ),
        (
            "/logs/0/files/exclude/0",
            json!("a/b"),
            r#"logs[0].files.exclude[0]: "a/b" has a slash but is not absolute; write the path from the root, or a file name alone"#,
        ),
        (
            "/logs/0/readFrom",
            json!("Start"),
            r#"logs[0].readFrom: "Start" is not known; write Beginning or End"#,
        ),
        ("/logs/0/readFrom", json!(true), "logs[0].readFrom: must be text in quotes, not true or false"),
        (
            "/logs/0/maxLineBytes",
            json!("10"),
            r#"logs[0].maxLineBytes: "10" is too little; write at least "64""#,
        ),
        (
            "/logs/0/maxLineBytes",
            json!("1Gi"),
            r#"logs[0].maxLineBytes: "1Gi" is too much; write at most "16Mi""#,
        ),
        (
            "/logs/0/maxLineBytes",
            json!(1.5),
            "logs[0].maxLineBytes: 1.5 is not a whole number from 0 to 18446744073709551615",
        ),
        (
            "/logs/0/maxLineBytes",
            json!([]),
            r#"logs[0].maxLineBytes: must be a size such as "100Mi", not a list"#,
        ),
        ("/logs/0/maxLine", json!("1Mi"), "logs[0].maxLine: is not known; did you mean maxLineBytes?"),
        ("/logs/0/syslog", json!({}), "logs[0].syslog: is not supported yet; leave it out"),
        (
            "/logs/0/container",
            json!("App"),
            r#"logs[0].container: "App" is not a name; write lower-case letters, digits and inner hyphens, such as "access-log""#,
        ),
        (
            "/logs/0/container",
            json!("x".repeat(64)),
            &format!(r#"logs[0].container: "{}" has 64 characters; write at most 63"#, "x".repeat(64)),
        ),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn when_a_file_is_due() {
    for (pointer, value, expected) in [
        (
            "/logs/0/rotate/when",
            json!(null),
            r#"logs[0].rotate.when: is missing; write for example {"size": "100Mi"} or {"schedule": "@daily"}"#,
        ),
        (
            "/logs/0/rotate/when",
            json!({}),
            "logs[0].rotate.when: has neither size nor schedule; write at least one of them",
        ),
        ("/logs/0/rotate/when/size", json!("0"), "logs[0].rotate.when.size: is 0; write at least 1"),
        (
            "/logs/0/rotate/when/size",
            json!("100MB"),
            r#"logs[0].rotate.when.size: "100MB" is not a size; write a number of bytes, or a number with a suffix: Ki, Mi, Gi, Ti (powers of 1024) or k, M, G, T (powers of 1000), such as "100Mi""#,
        ),
        (
            "/logs/0/rotate/when/minSize",
            json!("2Mi"),
            r#"logs[0].rotate.when.minSize: "2Mi" is more than size "1Mi"; write at most that"#,
        ),
        (
            "/logs/0/rotate/when/ifEmpty",
            json!("yes"),
            "logs[0].rotate.when.ifEmpty: must be true or false, not text",
        ),
        (
            "/logs/0/rotate/when",
            json!({"ifEmpty":true,"minSize":1,"schedule":"@daily"}),
            "logs[0].rotate.when.minSize: contradicts ifEmpty; leave one of them out",
        ),
        (
            "/logs/0/rotate/when/schedule",
            json!(null),
            "logs[0].rotate.when.timeZone: has no meaning without schedule; leave it out or write a schedule",
        ),
        (
            "/logs/0/rotate/when/timeZone",
            json!("Mars"),
            r#"logs[0].rotate.when.timeZone: "Mars" is not a time zone that is known here; write an IANA name such as "Asia/Seoul" or "UTC""#,
        ),
        (
            "/logs/0/rotate/when/schedule",
            json!("61 * * * *"),
            r#"logs[0].rotate.when.schedule: "61 * * * *" is not a schedule: value must be in range 0..=59; found 61"#,
        ),
        (
            "/logs/0/rotate/when/schedule",
            json!("5-1 * * * *"),
            r#"logs[0].rotate.when.schedule: "5-1 * * * *" is not a schedule: range must be in ascending order; found 5-1"#,
        ),
        (
            "/logs/0/rotate/when/schedule",
            json!("x * * * *"),
            r#"logs[0].rotate.when.schedule: "x * * * *" is not a schedule: write numbers, and names such as MON or JAN; L, W and # are not supported"#,
        ),
        (
            "/logs/0/rotate/when/schedule",
            json!("0 0 L * *"),
            r#"logs[0].rotate.when.schedule: "0 0 L * *" is not a schedule: write numbers, and names such as MON or JAN; L, W and # are not supported"#,
        ),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn how_a_file_is_turned_over() {
    for (pointer, value, expected) in [
        (
            "/logs/0/rotate/method",
            json!("InPlace"),
            "logs[0].rotate.method: InPlace is not supported yet; write Rename",
        ),
        (
            "/logs/0/rotate/method",
            json!("CopyTruncate"),
            r#"logs[0].rotate.method: "CopyTruncate" is not known; write Rename"#,
        ),
        (
            "/logs/0/rotate/allowLoss",
            json!(true),
            "logs[0].rotate.allowLoss: is not supported yet; leave it out",
        ),
        (
            "/logs/0/rotate/archive/directory",
            json!("../x"),
            r#"logs[0].rotate.archive.directory: "../x" contains `.` or `..`; write the path without"#,
        ),
        (
            "/logs/0/rotate/archive/directory",
            json!("/x"),
            r#"logs[0].rotate.archive.directory: "/x" is absolute; write a directory below that of the log, such as "archive""#,
        ),
        (
            "/logs/0/rotate/archive/naming",
            json!("Numeric"),
            "logs[0].rotate.archive.naming: Numeric is not supported yet; write Timestamp",
        ),
        (
            "/logs/0/rotate/archive/compression",
            json!("Zstd"),
            "logs[0].rotate.archive.compression: Zstd is not supported yet; write None or Gzip",
        ),
        (
            "/logs/0/rotate/archive/compression",
            json!("gzip"),
            r#"logs[0].rotate.archive.compression: "gzip" is not known; write None or Gzip"#,
        ),
        (
            "/logs/0/rotate/mode",
            json!("0755"),
            r#"logs[0].rotate.mode: "0755" has bits that a log file does not need; use only those for reading and writing, such as "0640""#,
        ),
        ("/logs/0/rotate/mode", json!(640), "logs[0].rotate.mode: must be text in quotes, not a number"),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn how_the_app_is_told_to_reopen() {
    for (pointer, value, expected) in [
        (
            "/logs/0/rotate/reopen",
            json!(null),
            r#"logs[0].rotate.reopen: is missing; write how the app is told to reopen its file: {"signal": …} or {"none": {}}"#,
        ),
        (
            "/logs/0/rotate/reopen",
            json!({}),
            "logs[0].rotate.reopen: has neither signal nor none; write one of them",
        ),
        (
            "/logs/0/rotate/reopen/none",
            json!({}),
            "logs[0].rotate.reopen: has both signal and none; leave one of them out",
        ),
        (
            "/logs/0/rotate/reopen",
            json!({"none":{"a":1}}),
            "logs[0].rotate.reopen.none.a: unknown field `a`, there are no fields",
        ),
        (
            "/logs/0/rotate/reopen",
            json!({"none":true}),
            "logs[0].rotate.reopen.none: must be an object without keys, {}, not true or false",
        ),
        (
            "/logs/0/rotate/reopen",
            json!({"preset":"Gunicorn"}),
            "logs[0].rotate.reopen.preset: is not known to the sidecar; write the signal that it stands for",
        ),
        (
            "/logs/0/rotate/reopen",
            json!({"http":{}}),
            "logs[0].rotate.reopen.http: is not supported yet; leave it out",
        ),
        (
            "/logs/0/rotate/reopen",
            json!({"fifo":{}}),
            "logs[0].rotate.reopen.fifo: is not supported yet; leave it out",
        ),
        (
            "/logs/0/rotate/reopen/timeout",
            json!("10ms"),
            r#"logs[0].rotate.reopen.timeout: "10ms" is too little; write at least "1s""#,
        ),
        (
            "/logs/0/rotate/reopen/timeout",
            json!("2d"),
            r#"logs[0].rotate.reopen.timeout: "2d" is too much; write at most "1d""#,
        ),
        (
            "/logs/0/rotate/reopen/timeout",
            json!(30),
            r#"logs[0].rotate.reopen.timeout: 30 has no unit; write for example "30s""#,
        ),
        (
            "/logs/0/rotate/reopen/fallback",
            json!("InPlace"),
            "logs[0].rotate.reopen.fallback: InPlace is not supported yet; write Wait",
        ),
        (
            "/logs/0/rotate/reopen/signal/name",
            json!("SIGKILL"),
            r#"logs[0].rotate.reopen.signal.name: "SIGKILL" is not a signal by which apps reopen their files; write SIGUSR1, SIGUSR2 or SIGHUP"#,
        ),
        (
            "/logs/0/rotate/reopen/signal/name",
            json!(null),
            "logs[0].rotate.reopen.signal.name: is missing; write SIGUSR1, SIGUSR2 or SIGHUP",
        ),
        (
            "/logs/0/rotate/reopen/signal/process",
            json!(null),
            "logs[0].rotate.reopen.signal.process: is missing; write which process gets the signal: commandPattern or pidFile",
        ),
        (
            "/logs/0/rotate/reopen/signal/process",
            json!({}),
            "logs[0].rotate.reopen.signal.process: has neither commandPattern nor pidFile; write at least one of them",
        ),
        (
            "/logs/0/rotate/reopen/signal/process/commandPattern",
            json!("a("),
            r#"logs[0].rotate.reopen.signal.process.commandPattern: "a(" is not a regular expression: unclosed group"#,
        ),
        (
            "/logs/0/rotate/reopen/signal/process/pidFile",
            json!("run/x"),
            r#"logs[0].rotate.reopen.signal.process.pidFile: "run/x" is not absolute; write the path from the root, with a leading slash"#,
        ),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn how_much_is_kept() {
    for (pointer, value, expected) in [
        (
            "/logs/0/rotate/retention",
            json!(null),
            r#"logs[0].rotate.retention: is missing; write how much to keep: count, age or totalSize, such as {"count": 4}"#,
        ),
        (
            "/logs/0/rotate/retention",
            json!({}),
            "logs[0].rotate.retention: has no limit; write at least one of count, age and totalSize",
        ),
        (
            "/logs/0/rotate/retention/count",
            json!(-1),
            "logs[0].rotate.retention.count: -1 is not a whole number from 0 to 4294967295",
        ),
        (
            "/logs/0/rotate/retention/count",
            json!(1000000),
            "logs[0].rotate.retention.count: 1000000 is too much; write at most 100000",
        ),
        (
            "/logs/0/rotate/retention/age",
            json!("1s"),
            r#"logs[0].rotate.retention.age: "1s" is too little; write at least "1m""#,
        ),
        (
            "/logs/0/rotate/retention/totalSize",
            json!(0),
            "logs[0].rotate.retention.totalSize: is 0; write at least 1",
        ),
        (
            "/logs/0/rotate/retention/whenUnconfirmed",
            json!("Drop"),
            r#"logs[0].rotate.retention.whenUnconfirmed: "Drop" is not known; write Keep or Delete"#,
        ),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn what_a_message_says() {
    for (pointer, value, expected) in [
        (
            "/logs/0/forward/destinations",
            json!([]),
            "logs[0].forward.destinations: is empty or missing; write at least 1",
        ),
        (
            "/logs/0/forward/destinations/0/name",
            json!("centrall"),
            r#"logs[0].forward.destinations[0].name: "centrall" is not among the destinations of this file; did you mean "central"?"#,
        ),
        (
            "/logs/0/forward/destinations/0/name",
            json!("other"),
            r#"logs[0].forward.destinations[0].name: "other" is not among the destinations of this file; add it there"#,
        ),
        (
            "/logs/0/forward/destinations/0",
            json!("central"),
            "logs[0].forward.destinations[0]: must be an object, not text",
        ),
        (
            "/logs/0/forward/destinations/-",
            json!({"name":"central"}),
            "logs[0].forward.destinations: more than one destination for a log is not supported yet; write one",
        ),
        (
            "/logs/0/forward/hostname",
            json!("a b"),
            r#"logs[0].forward.hostname: "a b" does not fit; write 1 to 255 printable ASCII characters without space"#,
        ),
        (
            "/logs/0/forward/hostnameFrom",
            json!("Container"),
            r#"logs[0].forward.hostnameFrom: "Container" is not known; write Pod, Node or Workload"#,
        ),
        (
            "/logs/0/forward/appName",
            json!(""),
            r#"logs[0].forward.appName: "" does not fit; write 1 to 48 printable ASCII characters without space"#,
        ),
        (
            "/logs/0/forward/facility",
            json!("local0"),
            r#"logs[0].forward.facility: "local0" is not known; write Kern, User, Mail, Daemon, Auth, Syslog, Lpr, News, Uucp, Cron, AuthPriv, Ftp, Ntp, Audit, Alert, Clock, Local0, Local1, Local2, Local3, Local4, Local5, Local6 or Local7"#,
        ),
        (
            "/logs/0/forward/severity",
            json!("Warn"),
            r#"logs[0].forward.severity: "Warn" is not known; write Emergency, Alert, Critical, Error, Warning, Notice, Info or Debug"#,
        ),
        (
            "/logs/0/forward/metadata/0/from",
            json!("Pod"),
            "logs[0].forward.metadata[0].from: does not go with value; leave one of them out",
        ),
        (
            "/logs/0/forward/metadata/0",
            json!({"name":"pod","from":"Labels"}),
            r#"logs[0].forward.metadata[0].from: "Labels" is not known; write Namespace, Pod, PodUid, Container, Node or Workload"#,
        ),
        (
            "/logs/0/forward/metadata/0/name",
            json!("a=b"),
            r#"logs[0].forward.metadata[0].name: "a=b" does not fit; write 1 to 32 printable ASCII characters without space, =, ] and ""#,
        ),
        ("/logs/0/forward/include", json!([]), "logs[0].forward.include: is not supported yet; leave it out"),
        ("/logs/0/forward/exclude", json!([]), "logs[0].forward.exclude: is not supported yet; leave it out"),
        (
            "/logs/0/forward/multiline",
            json!({}),
            "logs[0].forward.multiline: is not supported yet; leave it out",
        ),
        ("/logs/0/forward/parse", json!({}), "logs[0].forward.parse: is not supported yet; leave it out"),
        ("/logs/0/forward/redact", json!([]), "logs[0].forward.redact: is not supported yet; leave it out"),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn how_a_receiver_is_reached() {
    for (pointer, value, expected) in [
        (
            "/destinations/0/syslog/preset",
            json!("Papertrail"),
            "destinations[0].syslog.preset: is not known to the sidecar; write the framing and limits that it stands for",
        ),
        (
            "/destinations/0/syslog/endpoints",
            json!([]),
            "destinations[0].syslog.endpoints: is empty or missing; write at least 1",
        ),
        (
            "/destinations/0/syslog/endpoints/0/host",
            json!("a:6514"),
            r#"destinations[0].syslog.endpoints[0].host: "a:6514" is not a host; write a DNS name, or an IP address without brackets, and the port into port"#,
        ),
        (
            "/destinations/0/syslog/endpoints/0/host",
            json!("[::1]"),
            r#"destinations[0].syslog.endpoints[0].host: "[::1]" is not a host; write a DNS name, or an IP address without brackets, and the port into port"#,
        ),
        (
            "/destinations/0/syslog/endpoints/0/host",
            json!("1.2.3"),
            r#"destinations[0].syslog.endpoints[0].host: "1.2.3" is not a host; write a DNS name, or an IP address without brackets, and the port into port"#,
        ),
        (
            "/destinations/0/syslog/endpoints/0/port",
            json!(0),
            "destinations[0].syslog.endpoints[0].port: is 0; write the receiver's port, 1 to 65535",
        ),
        (
            "/destinations/0/syslog/endpoints/0/port",
            json!(65536),
            "destinations[0].syslog.endpoints[0].port: 65536 is not a whole number from 0 to 65535",
        ),
        (
            "/destinations/0/syslog/endpoints/0/port",
            json!("6514"),
            "destinations[0].syslog.endpoints[0].port: must be a number, not text",
        ),
        (
            "/destinations/0/syslog/endpoints/0/prot",
            json!("6514"),
            "destinations[0].syslog.endpoints[0].prot: is not known; did you mean port?",
        ),
        (
            "/destinations/0/syslog/transport",
            json!("UDP"),
            "destinations[0].syslog.transport: UDP is not supported yet; write TLS or TCP",
        ),
        (
            "/destinations/0/syslog/transport",
            json!("TCP"),
            "destinations[0].syslog.tls: has no meaning with transport TCP; leave it out or write transport TLS",
        ),
        (
            "/destinations/0/syslog/transport",
            json!("tls"),
            r#"destinations[0].syslog.transport: "tls" is not known; write TLS or TCP"#,
        ),
        (
            "/destinations/0/syslog/format",
            json!("RFC3164"),
            "destinations[0].syslog.format: RFC3164 is not supported yet; write RFC5424",
        ),
        (
            "/destinations/0/syslog/framing",
            json!("LF"),
            r#"destinations[0].syslog.framing: "LF" is not known; write OctetCounting, LineFeed or NUL"#,
        ),
        (
            "/destinations/0/syslog/maxMessageBytes",
            json!(100),
            r#"destinations[0].syslog.maxMessageBytes: "100" is too little; write at least "480""#,
        ),
        (
            "/destinations/0/syslog/structuredData/0/id",
            json!("a b"),
            r#"destinations[0].syslog.structuredData[0].id: "a b" does not fit; write 1 to 32 printable ASCII characters without space, =, ] and ""#,
        ),
        (
            "/destinations/0/syslog/structuredData/0/id",
            json!("capstan@32473"),
            r#"destinations[0].syslog.structuredData[0].id: "capstan@32473" is an element that the sidecar adds itself; write another name"#,
        ),
        (
            "/destinations/0/syslog/structuredData/0/idFile",
            json!("/x"),
            "destinations[0].syslog.structuredData[0]: must have exactly one of id and idFile",
        ),
        (
            "/destinations/0/syslog/structuredData/0/id",
            json!({"secretKeyRef":{}}),
            "destinations[0].syslog.structuredData[0].id: must be text in quotes, not an object",
        ),
        (
            "/destinations/0/syslog/structuredData/-",
            json!({"id":"tag@32473"}),
            r#"destinations[0].syslog.structuredData[1]: has the same name as another, "tag@32473"; write one element with all parameters"#,
        ),
        (
            "/destinations/0/syslog/positionElement",
            json!("on"),
            "destinations[0].syslog.positionElement: must be true or false, not text",
        ),
        (
            "/destinations/0/syslog",
            json!(null),
            r#"destinations[0].syslog: is missing; write how to reach the receiver: {"endpoints": …}"#,
        ),
        ("/destinations/0/kafka", json!({}), "destinations[0].kafka: is not known; known here: name, syslog"),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn what_is_asked_of_certificates() {
    for (pointer, value, expected) in [
        (
            "/destinations/0/syslog/tls/caFile",
            json!("ca.crt"),
            r#"destinations[0].syslog.tls.caFile: "ca.crt" is not absolute; write the path from the root, with a leading slash"#,
        ),
        (
            "/destinations/0/syslog/tls/ca",
            json!({}),
            "destinations[0].syslog.tls.ca: is not known; did you mean caFile?",
        ),
        (
            "/destinations/0/syslog/tls/fingerprints",
            json!(["sha-1:E1:2D:53:2B:7C:6B:8A:29:A2:76:C8:64:36:0B:08:4B:7A:F1:9E:9D"]),
            "destinations[0].syslog.tls: has both caFile and fingerprints; leave one of them out, a fingerprint needs no authority",
        ),
        (
            "/destinations/0/syslog/tls/fingerprints",
            json!(["E1"]),
            r#"destinations[0].syslog.tls.fingerprints[0]: "E1" is not a fingerprint; write sha-256: or sha-1: and the bytes in hexadecimal with colons between, such as "sha-256:E1:2D:…", as `openssl x509 -fingerprint -sha256` prints them"#,
        ),
        (
            "/destinations/0/syslog/tls/clientCertificate",
            json!({"keyFile":"/k"}),
            "destinations[0].syslog.tls.clientCertificate.certificateFile: is missing; write the path of a PEM file",
        ),
        (
            "/destinations/0/syslog/tls/minVersion",
            json!("TLS1.1"),
            r#"destinations[0].syslog.tls.minVersion: "TLS1.1" is not known; write TLS1.2 or TLS1.3"#,
        ),
        (
            "/destinations/0/syslog/tls/serverName",
            json!("*.example.com"),
            r#"destinations[0].syslog.tls.serverName: "*.example.com" is not a host; write a DNS name, or an IP address without brackets, and the port into port"#,
        ),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn how_delivery_is_made_sure() {
    for (pointer, value, expected) in [
        (
            "/destinations/0/syslog/delivery/mode",
            json!("BestEffort"),
            "destinations[0].syslog.delivery.mode: BestEffort is not supported yet; write AtLeastOnce",
        ),
        (
            "/destinations/0/syslog/delivery/maxBytesPerSecond",
            json!("1Mi"),
            "destinations[0].syslog.delivery.maxBytesPerSecond: is not supported yet; leave it out",
        ),
        (
            "/destinations/0/syslog/delivery/replayMargin",
            json!("2h"),
            r#"destinations[0].syslog.delivery.replayMargin: "2h" is too much; write at most "1h""#,
        ),
        (
            "/destinations/0/syslog/delivery/rollBytes",
            json!("1"),
            r#"destinations[0].syslog.delivery.rollBytes: "1" is too little; write at least "4Ki""#,
        ),
        (
            "/destinations/0/syslog/delivery/closeTimeout",
            json!("0s"),
            r#"destinations[0].syslog.delivery.closeTimeout: "0s" is too little; write at least "100ms""#,
        ),
        (
            "/destinations/0/syslog/delivery/rollage",
            json!("0s"),
            "destinations[0].syslog.delivery.rollage: is not known; did you mean rollAge?",
        ),
    ] {
        check(pointer, value, expected);
    }
}

#[test]
fn names_come_once() {
    let copies = |list: &str| (format!("/{list}/-"), good()[list][0].clone());
    let (pointer, value) = copies("logs");
    check(&pointer, value, r#"logs[1].name: "access" comes twice; give each its own name"#);
    let (pointer, value) = copies("destinations");
    check(&pointer, value, r#"destinations[1].name: "central" comes twice; give each its own name"#);
}

#[test]
fn lists_and_texts_are_bounded() {
    check("/logs", Value::Array(vec![json!({}); 65]), "logs: has 65 items; write at most 64");
    check("/policy", json!("x".repeat(100_000)), "policy: has 100000 bytes; write at most 4096");
    check(
        "/logs/0/forward/metadata/0/value",
        json!("x".repeat(1025)),
        "logs[0].forward.metadata[0].value: has 1025 bytes; write at most 1024",
    );
}

#[test]
fn all_errors_are_told_at_once() {
    refused(
        &[
            ("/policy", json!("")),
            ("/logs/0/rotate/method", json!("InPlace")),
            ("/logs/0/rotate/reopen/timeout", json!(5)),
            ("/logs/0/forward/multiline", json!({ "startPattern": "^x" })),
            ("/destinations/0/syslog/transport", json!("UDP")),
        ],
        &[
            "policy: is empty; write a name",
            "logs[0].rotate.method: InPlace is not supported yet; write Rename",
            r#"logs[0].rotate.reopen.timeout: 5 has no unit; write for example "5s""#,
            "logs[0].forward.multiline: is not supported yet; leave it out",
            "destinations[0].syslog.transport: UDP is not supported yet; write TLS or TCP",
        ],
    );
}

#[test]
fn all_wrong_keys_are_told_at_once() {
    refused(
        &[
            ("/logs/0/rotate/wen", json!({})),
            ("/logs/0/rotate/archive", json!("archive")),
            ("/destinations/0/syslog/tls/caFiles", json!("/etc/ca.crt")),
            ("/destinations/0/syslog/endpoints/0", json!(["logs.example.com", 6514])),
        ],
        &[
            "destinations[0].syslog.tls.caFiles: is not known; did you mean caFile?",
            "logs[0].rotate.archive: must be an object, not text",
            "logs[0].rotate.wen: is not known; did you mean when?",
            "destinations[0].syslog.endpoints[0]: must be an object, not a list",
        ],
    );
}

#[test]
fn text_in_the_file_cannot_garble_a_message() {
    check(
        "/logs/0/a`b`, expected `c",
        json!(1),
        concat!(
            "logs[0].a`b`, expected `c: is not known; known here: name, files, syslog, container, readFrom, ",
            "maxLineBytes, rotate, forward",
        ),
    );
    check("/logs/0/files", json!("x, expected y"), "logs[0].files: must be an object, not text");
}

#[test]
fn a_key_may_not_come_twice() {
    let twice =
        good().to_string().replace("{\"name\":\"central\"}", "{\"name\":\"central\",\"name\":\"other\"}");
    let error = parse(twice.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "logs[0].forward.destinations[0]: has the key name twice; leave one out");
    let error = parse(br#"{"version":1,"version":1}"#).unwrap_err().to_string();
    assert_eq!(error, "(file): has the key version twice; leave one out");
}

#[test]
fn another_version_is_told_apart_whatever_its_shape() {
    let unsupported = |found: &str| ParseError::UnsupportedVersion { found: found.to_owned(), known: 1 };
    let line = "version: 2 is not known to this sidecar, which reads version 1";
    no_file(r#"{"version": 2, "logs": {"a": []}, "new": true}"#, &unsupported("2"), line);
    let line = "version: 1.5 is not known to this sidecar, which reads version 1";
    no_file(r#"{"version": 1.5}"#, &unsupported("1.5"), line);
    check("/version", json!(null), "version: is missing; write 1");
    check("/version", json!("1"), "version: must be a number, not text; write 1");
}

#[test]
fn an_empty_file_is_told_apart() {
    no_file("", &ParseError::Empty, "the file is empty");
    no_file(" \n\t", &ParseError::Empty, "the file is empty");
}

#[test]
fn a_torn_file_is_told_apart_wherever_it_ends() {
    let text = serde_json::to_string_pretty(&good()).unwrap();
    for end in 1..text.len() {
        let error = parse(&text.as_bytes()[..end]).unwrap_err();
        assert!(matches!(error, ParseError::Torn { .. }), "{end}: {error}");
    }
    no_file(
        "{\n",
        &ParseError::Torn { line: 2, column: 0 },
        "the file ends in the middle, at line 2 column 0",
    );
}

#[test]
fn what_is_no_json_is_told_apart() {
    for (text, message) in [
        ("version: 1", "the file is not JSON: expected value at line 1 column 1"),
        ("\0\0\0", "the file is not JSON: expected value at line 1 column 1"),
        ("{} x", "the file is not JSON: trailing characters at line 1 column 4"),
        ("[]", "(file): is a list; write an object in braces"),
        ("null", "(file): is nothing; write an object in braces"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), message);
    }
    let large = vec![b' '; 1_048_577];
    let message = "the file has 1048577 bytes, more than the 1048576 that are read";
    assert_eq!(parse(&large).unwrap_err().to_string(), message);
}
