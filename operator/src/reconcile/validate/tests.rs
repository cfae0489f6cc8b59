//! Specs as users write them, and what becomes of them.

use serde_json::Value;

use super::*;

fn spec<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_yaml_ng::from_str(yaml).unwrap()
}

fn web(yaml: &str) -> LogRotationPolicy {
    LogRotationPolicy::new("web", spec(yaml))
}

/// What stands for a certificate.
const PEM: &str = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n";

fn found(
    name: &str,
    yaml: &str,
    authority: Option<Result<String, String>>,
) -> (String, Result<FoundDestination, Absent>) {
    let destination = Arc::new(LogDestination::new(name, spec(yaml)));
    (name.to_owned(), Ok(FoundDestination { destination, authority }))
}

/// The two destinations of the test data.
fn both() -> Found {
    let destination =
        |name: &str, yaml: &str| found(name, yaml, (name == "central").then(|| Ok(PEM.to_owned())));
    [
        destination("central", include_str!("../testdata/central.yaml")),
        destination("papertrail", include_str!("../testdata/papertrail.yaml")),
    ]
    .into()
}

/// A policy with one log, whose keys are `yaml` in braces.
fn one_log(yaml: &str) -> LogRotationPolicy {
    web(&format!("logs: [{{ name: app, files: {{ include: [/var/log/app.log] }}, {yaml} }}]"))
}

fn refusals(policy: &LogRotationPolicy, found: &Found) -> Vec<(Reason, String)> {
    let problems = super::policy(policy, found).unwrap_err();
    problems.into_iter().map(|problem| (problem.reason, problem.to_string())).collect()
}

#[track_caller]
fn refused(yaml: &str, reason: Reason, message: &str) {
    assert_eq!(refusals(&one_log(yaml), &both()), [(reason, message.to_owned())]);
}

#[test]
fn a_full_policy_becomes_the_golden_file() {
    let validated = policy(&web(include_str!("../testdata/web.yaml")), &both()).unwrap();
    let golden = include_str!("../testdata/web.json");
    assert_eq!(
        validated.file, golden,
        "if this is meant, write it into testdata/web.json:\n{}",
        validated.file
    );
    assert_eq!(validated.hash, ConfigHash::of(golden.as_bytes()));
    assert_eq!(validated.secrets, ["loggly", "central-client"].map(str::to_owned).into());
    assert_eq!(validated.authorities, [(references::authority_file("central", PEM), PEM.to_owned())].into());
    assert_eq!(capstan_config::parse(validated.file.as_bytes()), Ok(validated.config));
}

#[test]
fn a_preset_gives_way_to_what_is_written() {
    let found: Found = [found("loggly", "syslog: { preset: Loggly, maxMessageBytes: 8Ki }", None)].into();
    let validated = policy(&one_log("forward: { destinations: [{ name: loggly }] }"), &found).unwrap();
    let file: Value = serde_json::from_str(&validated.file).unwrap();
    let syslog = &file["destinations"][0]["syslog"];
    assert_eq!(syslog["endpoints"][0]["host"], "logs-01.loggly.com");
    assert_eq!(syslog["framing"], "LineFeed");
    assert_eq!(syslog["maxMessageBytes"], "8Ki");
}

#[test]
fn a_destination_that_cannot_be_read_is_not_said_to_be_missing() {
    let policy = one_log("forward: { destinations: [{ name: later }] }");
    let found: Found = [("later".to_owned(), Err(Absent::Unreadable("unknown variant".to_owned())))].into();
    let message =
        "LogDestination later: it cannot be read; is its definition of a later version? unknown variant";
    assert_eq!(refusals(&policy, &found), [(Reason::Invalid, message.to_owned())]);
}

#[test]
fn a_missing_destination_is_named_and_everything_else_is_checked_too() {
    let policy =
        one_log("forward: { destinations: [{ name: elsewhere }], facility: Local0 }, maxLineBytes: 1");
    let found: Found = [("elsewhere".to_owned(), Err(Absent::Missing))].into();
    assert_eq!(
        refusals(&policy, &found),
        [
            (
                Reason::DestinationMissing,
                "spec.logs[0].forward.destinations[0].name: there is no LogDestination \"elsewhere\" in this \
                 namespace; create it, or write the name of another"
                    .to_owned()
            ),
            (
                Reason::Invalid,
                "spec.logs[0].maxLineBytes: \"1\" is too little; write at least \"64\"".to_owned()
            ),
        ]
    );
}

const ROTATE: &str = "when: { size: 1Mi }, retention: { count: 1 }";

#[test]
fn a_pattern_that_does_not_compile_is_refused_with_its_place() {
    let signal = |pattern: &str| {
        format!(
            "rotate: {{ {ROTATE}, reopen: {{ signal: {{ name: SIGHUP, process: {{ commandPattern: '{pattern}' }} }} }} }}"
        )
    };
    let place = "spec.logs[0].rotate.reopen.signal.process.commandPattern";
    refused(
        &signal("a("),
        Reason::Invalid,
        &format!("{place}: \"a(\" is not a regular expression: unclosed group"),
    );
    let large = r"(\w{100}){100}{100}";
    let message = &refusals(&one_log(&signal(large)), &both())[0].1;
    assert!(message.contains("when compiled; write a simpler one"), "{message}");
}

#[test]
fn an_unknown_preset_is_refused_with_those_that_are_known() {
    let message =
        &refusals(&one_log(&format!("rotate: {{ {ROTATE}, reopen: {{ preset: Gunicron }} }}")), &both())[0];
    assert_eq!(message.0, Reason::Invalid);
    assert!(
        message.1.starts_with(
            "spec.logs[0].rotate.reopen.preset: \"Gunicron\" is not a known preset; write one of Apache,"
        ),
        "{message:?}"
    );
    refused(
        &format!("rotate: {{ {ROTATE}, reopen: {{ preset: Uwsgi }} }}"),
        Reason::NotSupported,
        "spec.logs[0].rotate.reopen.preset: Uwsgi is told through its master FIFO, which is not supported yet",
    );
    let problems = destination("central", &spec("syslog: { preset: Papertrial, endpoints: [{ host: a }] }"));
    let problem = &problems.unwrap_err()[0];
    assert!(
        problem.message.starts_with("spec.syslog.preset: \"Papertrial\" is not a known preset"),
        "{problem}"
    );
}

#[test]
fn what_is_not_supported_yet_is_refused_by_its_field() {
    let forward = |more: &str| format!("forward: {{ destinations: [{{ name: central }}], {more} }}");
    for (yaml, message) in [
        (forward("include: [a]"), "spec.logs[0].forward.include: is not supported yet; leave it out"),
        (forward("exclude: [a]"), "spec.logs[0].forward.exclude: is not supported yet; leave it out"),
        (
            forward("multiline: { startPattern: a }"),
            "spec.logs[0].forward.multiline: is not supported yet; leave it out",
        ),
        (
            forward("parse: { severity: { pattern: a } }"),
            "spec.logs[0].forward.parse: is not supported yet; leave it out",
        ),
        (
            forward("redact: [{ pattern: a, with: b }]"),
            "spec.logs[0].forward.redact: is not supported yet; leave it out",
        ),
        (
            "forward: { destinations: [{ name: central }, { name: papertrail }] }".to_owned(),
            "spec.logs[0].forward.destinations: more than one destination for a log is not supported yet; write one",
        ),
        (
            format!("rotate: {{ {ROTATE}, method: InPlace, reopen: {{ none: {{}} }} }}"),
            "spec.logs[0].rotate.method: InPlace is not supported yet; write Rename",
        ),
        (
            format!("rotate: {{ {ROTATE}, reopen: {{ none: {{}}, fallback: InPlace }} }}"),
            "spec.logs[0].rotate.reopen.fallback: InPlace is not supported yet; write Wait",
        ),
        (
            format!("rotate: {{ {ROTATE}, reopen: {{ http: {{ port: 1, path: / }} }} }}"),
            "spec.logs[0].rotate.reopen.http: is not supported yet; leave it out",
        ),
        (
            format!("rotate: {{ {ROTATE}, reopen: {{ none: {{}} }}, archive: {{ compression: Zstd }} }}"),
            "spec.logs[0].rotate.archive.compression: Zstd is not supported yet; write None or Gzip",
        ),
        (
            format!("rotate: {{ {ROTATE}, reopen: {{ none: {{}} }}, archive: {{ naming: Date }} }}"),
            "spec.logs[0].rotate.archive.naming: Date is not supported yet; write Timestamp",
        ),
    ] {
        refused(&yaml, Reason::NotSupported, message);
    }
}

#[test]
fn what_is_missing_only_because_of_something_not_supported_is_not_told() {
    let in_place = one_log(&format!("rotate: {{ {ROTATE}, method: InPlace }}"));
    let message = "spec.logs[0].rotate.method: InPlace is not supported yet; write Rename";
    assert_eq!(refusals(&in_place, &both()), [(Reason::NotSupported, message.to_owned())]);
    let local = web(
        "logs: [{ name: local, syslog: { udpPort: 5514 }, forward: { destinations: [{ name: central }] } }]
budget: { totalSize: 2Gi }",
    );
    let messages: Vec<String> = refusals(&local, &both()).into_iter().map(|(_, message)| message).collect();
    assert_eq!(
        messages,
        [
            "spec.logs[0].syslog: is not supported yet; leave it out",
            "spec.budget: is not supported yet; leave it out"
        ]
    );
}

#[test]
fn a_destination_is_checked_for_itself_and_for_its_policies() {
    let udp =
        "syslog: { endpoints: [{ host: a, port: 514 }], transport: UDP, delivery: { mode: BestEffort } }";
    let messages: Vec<String> =
        destination("central", &spec(udp)).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "spec.syslog.transport: UDP is not supported yet; write TLS or TCP",
            "spec.syslog.delivery.mode: BestEffort is not supported yet; write AtLeastOnce"
        ]
    );
    let found: Found = [found("central", udp, None)].into();
    let policy = one_log("forward: { destinations: [{ name: central }] }");
    let first = &super::policy(&policy, &found).unwrap_err()[0];
    assert_eq!(first.destination.as_deref(), Some("central"));
    assert_eq!(
        first.to_string(),
        "LogDestination central: spec.syslog.transport: UDP is not supported yet; write TLS or TCP"
    );
    for (_, good) in both() {
        let good = good.unwrap();
        assert_eq!(destination("central", &good.destination.spec), Ok(()));
    }
}

#[test]
fn paths_lead_back_to_what_was_written() {
    let message = |yaml: &str| destination("central", &spec(yaml)).unwrap_err()[0].message.clone();
    let relative =
        message("syslog: { endpoints: [{ host: a }], structuredData: [{ id: { value: capstan@32473 } }] }");
    assert!(relative.starts_with("spec.syslog.structuredData[0].id.value: "), "{relative}");
    let host = message("syslog: { endpoints: [{ host: a }, { host: '1.2.3' }] }");
    assert!(host.starts_with("spec.syslog.endpoints[1].host: \"1.2.3\" is not a host"), "{host}");
}

#[test]
fn too_much_is_refused_as_a_whole() {
    let long = vec!["x".repeat(199); 5].join("/");
    let paths: Vec<String> = (0..32).map(|index| format!("/{long}/{index}")).collect();
    let log = |index: usize| {
        serde_json::json!({
            "name": format!("log-{index}"),
            "files": { "include": paths },
            "forward": { "destinations": [{ "name": "papertrail" }] },
        })
    };
    let policy = |logs: usize| {
        let spec = serde_json::json!({ "logs": (0..logs).map(log).collect::<Vec<_>>() });
        LogRotationPolicy::new("web", serde_json::from_value(spec).unwrap())
    };
    assert!(super::policy(&policy(15), &both()).is_ok());
    for logs in [17, 64] {
        let refusals = refusals(&policy(logs), &both());
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert_eq!(refusals[0].0, Reason::TooLarge);
        assert!(
            refusals[0].1.contains("more than the 524288 that are delivered; write fewer logs"),
            "{refusals:?}"
        );
    }
}

#[test]
fn authorities_that_are_not_there_keep_the_policy_from_being_delivered() {
    let error = "there is no ConfigMap \"ca\" in this namespace; create it";
    let yaml =
        "syslog: { endpoints: [{ host: a }], tls: { ca: { configMapKeyRef: { name: ca, key: ca.crt } } } }";
    let policy = one_log("forward: { destinations: [{ name: central }] }");
    assert_eq!(
        refusals(&policy, &[found("central", yaml, Some(Err(error.to_owned())))].into()),
        [(
            Reason::AuthorityMissing,
            format!("LogDestination central: spec.syslog.tls.ca.configMapKeyRef: {error}")
        )]
    );
    let large = [found("central", yaml, Some(Ok(PEM.repeat(10_000))))].into();
    assert_eq!(refusals(&policy, &large)[0].0, Reason::TooLarge);
}
