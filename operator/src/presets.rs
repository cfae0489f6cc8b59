//! What the names of known receivers and known apps stand for.
//!
//! In: a name. Out: settings, or why there are none. What always holds: what stands here was read in the manual or the
//! source that the comment names; an app that this version cannot serve is refused by name, not served badly.

use serde_json::{Value, json};

/// A known receiver: what it needs that differs from the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: &'static str,
    /// Its address, if all of its users share one.
    pub endpoint: Option<(&'static str, u16)>,
    /// How it tells messages apart.
    pub framing: &'static str,
    /// The longest message that it keeps whole, in bytes.
    pub max_message_bytes: u64,
}

/// The receivers that are known.
pub const RECEIVERS: [Receiver; 6] = [
    // "Troubleshooting remote syslog reachability" of its help: TCP lines of at most 100,000 bytes. Framing: what its
    // own client, remote_syslog2, sends (`syslog/syslog.go`). Every account has a port of its own.
    Receiver { name: "Papertrail", endpoint: None, framing: "LineFeed", max_message_bytes: 100_000 },
    // Its rsyslog set-up: `@@logs-01.loggly.com:6514` over TLS with a line feed after each message, the customer's
    // token as SD-ID `TOKEN@41058`. Events beyond 1 MB are dropped.
    Receiver {
        name: "Loggly",
        endpoint: Some(("logs-01.loggly.com", 6514)),
        framing: "LineFeed",
        max_message_bytes: 1_000_000,
    },
    // "Cloud Syslog Source" of its help: RFC 5424 over TLS only, the token as SD-ID, messages over 64 KB are cut; the
    // host is `syslog.collection.DEPLOYMENT.sumologic.com`. Its rsyslog example frames by line feed.
    Receiver { name: "SumoLogic", endpoint: None, framing: "LineFeed", max_message_bytes: 64_000 },
    // rsyslog's `omfwd` page, TCP_FrameDelimiter: "When using Graylog, the parameter must be set to 0". Its inputs take
    // 2 MiB by default (`max_message_size`).
    Receiver { name: "Graylog", endpoint: None, framing: "NUL", max_message_bytes: 2 << 20 },
    // `imtcp` tells both framings apart; the global `maxMessageSize` is 8 KiB unless it was set.
    Receiver { name: "Rsyslog", endpoint: None, framing: "OctetCounting", max_message_bytes: 8 << 10 },
    // The source driver `syslog()` wants octet counting ("Invalid frame header" else); `log-msg-size()` is 64 KiB.
    Receiver { name: "SyslogNG", endpoint: None, framing: "OctetCounting", max_message_bytes: 64 << 10 },
];

/// How a known app is told to reopen its log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HowToReopen {
    /// A signal to the process whose command line this is found in.
    Signal(&'static str, &'static str),
    /// Not at all: it opens its file for every line, or looks at the path before each.
    None,
    /// In a way that is not supported yet, or never.
    Not(&'static str),
}

/// The apps that are known.
pub const APPS: [(&str, HowToReopen); 17] = [
    // httpd's "Log Files": USR1 is the graceful restart, whose children write the old file until they are done. The
    // parent is `apache2 -k start` on Debian, `httpd -DFOREGROUND` in the official image.
    ("Apache", HowToReopen::Signal("SIGUSR1", r"(^|/)(httpd|apache2)( |$)")),
    // Dovecot's manual, `doveadm log reopen`: the master takes USR1.
    ("Dovecot", HowToReopen::Signal("SIGUSR1", r"(^|/)dovecot( |$)")),
    // Envoy's operations manual, "Runtime signals": USR1 reopens all access logs.
    ("Envoy", HowToReopen::Signal("SIGUSR1", r"(^|/)envoy( |$)")),
    // gunicorn's "Signal Handling": the master reopens on USR1 and tells its workers. Its title is `gunicorn: master`
    // with setproctitle, else the command line has the script.
    ("Gunicorn", HowToReopen::Signal("SIGUSR1", r"gunicorn")),
    // HAProxy's manual, section 3.1 "log": it writes to a syslog server or a descriptor, to no file of its own.
    (
        "HAProxy",
        HowToReopen::Not("writes to a syslog server and not to a file; collect what that server writes"),
    ),
    // Rolling is done by their own appenders; nothing makes them reopen from outside.
    ("Log4j", HowToReopen::Not("has no way to be told; let its own appender roll, and only forward here")),
    ("Logback", HowToReopen::Not("has no way to be told; let its own appender roll, and only forward here")),
    // MongoDB's "Rotate Log Files": USR1 reopens with `--logRotate reopen --logappend`, and renames by itself without.
    ("MongoDB", HowToReopen::Signal("SIGUSR1", r"(^|/)mongo[ds] .*--logRotate[ =]reopen")),
    // nginx's "Controlling nginx": USR1 to the master, which reopens for its workers too.
    ("Nginx", HowToReopen::Signal("SIGUSR1", r"nginx: master process")),
    // php-fpm(8): USR1 re-opens log files.
    ("PhpFpm", HowToReopen::Signal("SIGUSR1", r"php-fpm: master process")),
    // PostgreSQL's "Log File Maintenance": the logging collector takes USR1 and begins a new file; with a file name
    // that has no time in it, it appends to the path, which is what is wanted here.
    ("PostgreSQL", HowToReopen::Signal("SIGUSR1", r"^postgres: .*logger")),
    // Puma's `docs/signals.md`: HUP reopens what `stdout_redirect` names, and ends a Puma without it.
    (
        "Puma",
        HowToReopen::Not(
            "ends on SIGHUP unless it has stdout_redirect; if it has, write signal SIGHUP yourself",
        ),
    ),
    // WatchedFileHandler of logging.handlers: looks before each line whether the path is still its file.
    ("PythonWatchedFile", HowToReopen::None),
    // rsyslogd(8): HUP closes all files, which are opened again when needed.
    ("Rsyslog", HowToReopen::Signal("SIGHUP", r"(^|/)rsyslogd( |$)")),
    // Traefik's "Access Logs", log rotation: USR1 reopens.
    ("Traefik", HowToReopen::Signal("SIGUSR1", r"(^|/)traefik( |$)")),
    // unicorn's SIGNALS: USR1 to the master reopens all logs.
    ("Unicorn", HowToReopen::Signal("SIGUSR1", r"unicorn(_rails)? master")),
    // uWSGI's "Master FIFO": `l` reopens; USR1 prints statistics and HUP reloads.
    ("Uwsgi", HowToReopen::Not("is told through its master FIFO, which is not supported yet")),
];

/// A receiver by its name.
///
/// # Errors
/// What to write instead.
pub fn receiver(name: &str) -> Result<Receiver, String> {
    let known = RECEIVERS.iter().find(|receiver| receiver.name == name).copied();
    known.ok_or_else(|| unknown(name, RECEIVERS.iter().map(|receiver| receiver.name)))
}

/// How an app reopens, as `reopen` of the configuration without time-out and fallback.
///
/// # Errors
/// Why it cannot be used, and what to write instead.
pub fn app(name: &str) -> Result<Value, String> {
    let known = APPS.iter().find(|(known, _)| *known == name);
    match known.map(|(_, how)| how) {
        Some(HowToReopen::Signal(signal, pattern)) => {
            Ok(json!({ "signal": { "name": signal, "process": { "commandPattern": pattern } } }))
        }
        Some(HowToReopen::None) => Ok(json!({ "none": {} })),
        Some(HowToReopen::Not(reason)) => Err(format!("{name} {reason}")),
        None => {
            let usable = APPS.iter().filter(|(_, how)| !matches!(how, HowToReopen::Not(_)));
            Err(unknown(name, usable.map(|(name, _)| *name)))
        }
    }
}

fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<&str> = known.collect();
    format!("{name:?} is not a known preset; write one of {}, or the settings themselves", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_a_signal_to_its_master() {
        let gunicorn =
            json!({ "signal": { "name": "SIGUSR1", "process": { "commandPattern": "gunicorn" } } });
        assert_eq!(app("Gunicorn"), Ok(gunicorn));
        assert_eq!(app("PythonWatchedFile"), Ok(json!({ "none": {} })));
    }

    #[test]
    fn apps_that_cannot_be_told_are_refused_by_name() {
        assert_eq!(
            app("Uwsgi").unwrap_err(),
            "Uwsgi is told through its master FIFO, which is not supported yet"
        );
        assert!(app("Gunicron").unwrap_err().starts_with(
            "\"Gunicron\" is not a known preset; write one of Apache, Dovecot, Envoy, Gunicorn, MongoDB, Nginx,"
        ));
        assert_eq!(
            receiver("Papertrial").unwrap_err(),
            "\"Papertrial\" is not a known preset; write one of Papertrail, Loggly, SumoLogic, Graylog, Rsyslog, \
             SyslogNG, or the settings themselves"
        );
    }

    /// Command lines as the programs show them, and one that must not be meant.
    #[test]
    fn patterns_find_the_master_and_nobody_else() {
        for (name, command, other) in [
            ("Apache", "/usr/sbin/apache2 -k start", "apache2ctl"),
            ("Apache", "httpd -DFOREGROUND", "tail -f /var/log/httpd.log"),
            ("Envoy", "/usr/local/bin/envoy -c envoy.yaml", "envoyer"),
            ("Gunicorn", "gunicorn: master [app]", "python app.py"),
            ("Gunicorn", "/usr/bin/python3 /usr/bin/gunicorn app:app", "celery"),
            ("MongoDB", "mongod --logappend --logRotate reopen", "mongod --logappend"),
            ("Nginx", "nginx: master process nginx -g daemon off;", "nginx: worker process"),
            ("PhpFpm", "php-fpm: master process (/etc/php-fpm.conf)", "php-fpm: pool www"),
            ("PostgreSQL", "postgres: 16/main: logger ", "postgres: checkpointer"),
            ("PostgreSQL", "postgres: logger", "/usr/lib/postgresql/bin/postgres -D /data"),
            ("Rsyslog", "/usr/sbin/rsyslogd -n", "rsyslogd-helper"),
            ("Traefik", "traefik --accesslog", "traefikctl"),
            ("Unicorn", "unicorn master -c config", "unicorn worker[0] -c config"),
        ] {
            let preset = app(name).unwrap();
            let pattern: capstan_config::Pattern =
                preset["signal"]["process"]["commandPattern"].as_str().unwrap().parse().unwrap();
            assert!(pattern.is_match(command.as_bytes()), "{name}: {command}");
            assert!(!pattern.is_match(other.as_bytes()), "{name}: {other}");
        }
    }
}
