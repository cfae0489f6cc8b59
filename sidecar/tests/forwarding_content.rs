//! What a line may hold, where lines come from, and what messages look like.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod fsupport;

use std::fs;
use std::io::Write;

use capstan_peers::collector::{Collector, Settings};
use capstan_peers::framing::Framing;
use serde_json::json;

use fsupport::rfc5424::{Message, parse};
use fsupport::{Destination, Pen, Scene, assert_exact, eventually, forwarded, writing};

fn messages(collector: &Collector) -> Vec<Message> {
    collector.messages().iter().map(|message| parse(&message.bytes)).collect()
}

fn bodies(collector: &Collector) -> Vec<Vec<u8>> {
    messages(collector).into_iter().map(|message| message.body).collect()
}

/// Lines that have broken other senders, without their LF.
fn odd_lines() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        &b"plain"[..],
        b"",
        b" ",
        b"\0",
        b"NUL \0 inside, and one at the end\0",
        b"CR at the end\r",
        b"\r",
        b"\xff\xfe no UTF-8 \x80\xc3",
        "\u{feff}a mark, and 쏜살같이 → ☂".as_bytes(),
        b"12 looks like a count",
        b"<34>1 2003-10-11T22:14:15.003Z looks like a message - - - - no",
        b"[not@1 structured=\"data\"]",
        b"\x1b[31mred\x1b[0m\ttab\x07",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    // Around the size of a chunk, and longer than several.
    lines.extend([65_535, 65_536, 65_537, 300_000].map(|length| vec![b'l'; length]));
    lines.push(b"".to_vec());
    lines
}

fn replaced(line: &[u8], byte: u8, by: &[u8]) -> Vec<u8> {
    line.split(|b| *b == byte).collect::<Vec<_>>().join(by)
}

#[test]
fn any_bytes_arrive_as_they_were_written_in_every_framing() {
    let scene = Scene::new();
    let framings =
        [("OctetCounting", Framing::OctetCounting), ("LineFeed", Framing::LineFeed), ("NUL", Framing::Nul)];
    let collectors =
        framings.map(|(_, framing)| scene.collector(Settings { framing, ..Settings::default() }));
    let (mut logs, mut destinations) = (Vec::new(), Vec::new());
    for (index, ((framing, _), collector)) in framings.iter().zip(&collectors).enumerate() {
        let (name, log) = (format!("d{index}"), scene.log(&format!("{index}.log")));
        let text: Vec<u8> =
            odd_lines().into_iter().flat_map(|line| [line, b"\n".to_vec()].concat()).collect();
        fs::write(&log, text).unwrap();
        logs.push(forwarded(&name, &log, &name));
        let destination = scene.destination(&name, collector.port()).syslog("framing", *framing);
        destinations.push(destination.syslog("maxMessageBytes", "1Mi"));
    }
    let _sidecar = scene.sidecar(logs, destinations);
    for (index, collector) in collectors.iter().enumerate() {
        let expected: Vec<Vec<u8>> = odd_lines();
        eventually("all lines", || collector.message_count() >= expected.len() as u64);
        let expected: Vec<Vec<u8>> = match index {
            // Only the framing's own delimiter is escaped; no line holds a line feed.
            2 => expected.iter().map(|line| replaced(line, 0, b"#000")).collect(),
            _ => expected,
        };
        assert!(bodies(collector) == expected, "framing {index}: {:?}", bodies(collector));
    }
}

#[test]
fn lines_written_byte_by_byte_and_in_pieces_arrive_whole() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut file = writing::append(&log);
    let _sidecar = scene.sidecar(
        vec![forwarded("app", &log, "central")],
        vec![scene.destination("central", collector.port())],
    );
    let text = b"first\nsecond, a bit longer\n\nfourth\n";
    for byte in text {
        file.write_all(&[*byte]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(7));
    }
    // Longer than a chunk, in pieces that the sidecar sees one by one.
    let long = vec![b'x'; 200_000];
    for piece in long.chunks(30_000) {
        file.write_all(piece).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    file.write_all(b"\nlast\n").unwrap();
    eventually("six lines", || collector.message_count() == 6);
    let cut = &messages(&collector)[4].body;
    assert!(cut.starts_with(b"xxxx") && cut.ends_with(b" bytes]"));
    let rest: Vec<Vec<u8>> = bodies(&collector);
    assert_eq!(rest[..4], [&b"first"[..], b"second, a bit longer", b"", b"fourth"]);
    assert_eq!(rest[5], b"last");
}

#[test]
fn a_line_that_is_too_long_is_cut_marked_and_counted_once() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    // 1,000 bytes are kept by maxLineBytes; then one that is far longer than a chunk; then one that fits.
    let lines = [vec![b'a'; 1000], vec![b'b'; 1001], vec![b'c'; 500_000], b"short".to_vec()];
    fs::write(&log, lines.join(&b'\n')).unwrap();
    let mut settings = forwarded("app", &log, "central");
    settings["maxLineBytes"] = json!(1000);
    let mut sidecar = scene.sidecar(vec![settings], vec![scene.destination("central", collector.port())]);
    eventually("three lines", || collector.message_count() == 3);
    sidecar.wait_until_confirmed_but(5);
    // What is sent again was cut before.
    collector.end_connections(capstan_peers::collector::Ending::Reset);
    eventually("the replay", || collector.message_count() == 6);
    let reason = [("policy", "web"), ("log", "app"), ("reason", "cut")];
    sidecar.counts("dropped_lines_total", &reason, 2.0);
    sidecar.terminate();
    let bodies = bodies(&collector);
    assert_eq!(bodies[0], vec![b'a'; 1000]);
    for (body, (letter, length)) in bodies[1..3].iter().zip([(b'b', 1001_usize), (b'c', 500_000)]) {
        let kept = body.iter().take_while(|byte| **byte == letter).count();
        let mark = format!(" [cut: {} bytes]", length - kept);
        assert_eq!(&body[kept..], mark.as_bytes());
        assert!((900..=1000).contains(&kept), "{kept}");
    }
    assert_eq!(bodies.last().unwrap(), b"short", "the last line's end, at the stop");
}

#[test]
fn a_message_is_never_longer_than_the_receiver_takes() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    fs::write(&log, format!("{}\n{}\nshort\n", "쏜살".repeat(500), "x".repeat(100_000))).unwrap();
    let destination = scene.destination("central", collector.port()).syslog("maxMessageBytes", 480);
    let sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    eventually("three lines", || collector.message_count() == 3);
    for message in &collector.messages()[..2] {
        assert!((470..=480).contains(&message.bytes.len()), "{}", message.bytes.len());
        assert!(str::from_utf8(&message.bytes).unwrap().ends_with(" bytes]"), "cut between characters");
    }
    assert_eq!(bodies(&collector)[2], b"short");
    eventually("the count", || sidecar.metric("dropped_lines_total", &[("reason", "cut")]) == 2.0);
}

#[test]
fn messages_obey_the_grammar_whatever_the_configuration_holds() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app \"quoted\" ]\\ 쏜.log");
    fs::write(&log, "hello\n").unwrap();
    let secret = scene.root().join("sd-id");
    fs::write(&secret, " token] \"with=all\" it takes, and far longer than thirty-two\n").unwrap();
    let mut settings = forwarded("app", &scene.log("*.log"), "central");
    let odd = "a \"b\" ]c] \\d\\ \n\r\t\0\u{7f}\u{85} 쏜살";
    settings["forward"]["metadata"] = json!([
        { "name": "!#$%&'()*+,-./:;<>?@[\\^_`{|}~a", "value": odd },
        { "name": "empty", "value": "" },
        { "name": "long", "value": "v".repeat(1024) },
    ]);
    settings["forward"]["hostname"] = json!("h".repeat(255));
    settings["forward"]["appName"] = json!("\"]=<>1\\-");
    settings["forward"]["facility"] = json!("Local7");
    settings["forward"]["severity"] = json!("Debug");
    let destination = scene.destination("central", collector.port()).syslog("positionElement", true).syslog(
        "structuredData",
        json!([
            { "id": "meta", "params": [{ "name": "language", "value": odd }] },
            { "idFile": secret, "params": [{ "name": "tag", "value": "]\"" }] },
        ]),
    );
    let _sidecar = scene.sidecar(vec![settings], vec![destination]);
    eventually("the line", || collector.message_count() == 1);
    let message = &messages(&collector)[0];
    assert_eq!((message.priority, message.hostname.len()), (23 * 8 + 7, 255));
    assert_eq!((message.app_name.as_str(), message.msg_id.as_str()), ("\"]=<>1\\-", "app"));
    assert_eq!(message.proc_id, "-");
    let visible = "a \"b\" ]c] \\d\\ #012#015#011#000#177#205 쏜살";
    assert_eq!(message.param("meta", "language"), Some(visible));
    assert_eq!(message.param("capstan@32473", "!#$%&'()*+,-./:;<>?@[\\^_`{|}~a"), Some(visible));
    assert_eq!(message.param("capstan@32473", "empty"), Some(""));
    assert_eq!(message.param("position@32473", "stream"), log.file_name().unwrap().to_str());
    assert_eq!(message.structured_data.len(), 4);
    assert_eq!(message.body, b"hello");
}

#[test]
fn the_host_s_name_stands_where_none_is_configured_and_the_time_is_that_of_the_writing() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let before = jiff::Timestamp::now();
    Pen::open(&log, 0).write(1);
    let destination = scene.destination("central", collector.port());
    let mut sidecar = fsupport::Sidecar::new(scene.root()).with(&["--hostname", "pod-7"]);
    let config = fsupport::config::config(vec![forwarded("app", &log, "central")], vec![destination]);
    sidecar.write_config(&config);
    sidecar.start();
    eventually("the line", || collector.message_count() == 1);
    let message = &messages(&collector)[0];
    assert_eq!((message.hostname.as_str(), message.app_name.as_str()), ("pod-7", "web"));
    let time: jiff::Timestamp = message.time.parse().unwrap();
    let truncated = jiff::Timestamp::from_microsecond(before.as_microsecond()).unwrap();
    assert!(truncated <= time && time <= jiff::Timestamp::now(), "{before} {time}");
    assert_eq!((message.priority, message.structured_data.len()), (16 * 8 + 6, 0));
}

#[test]
fn files_found_at_the_first_start_are_read_from_where_it_is_asked_and_later_ones_from_their_beginning() {
    let scene = Scene::new();
    for (index, (read_from, expected)) in [("Beginning", 100), ("End", 0)].into_iter().enumerate() {
        let collector = scene.collector(Settings::default());
        let directory = scene.directory(&format!("logs/{index}"));
        let log = directory.join("first.log");
        let mut pen = Pen::open(&log, 0);
        pen.write(100);
        let mut settings = forwarded("app", &directory.join("*.log"), "central");
        settings["readFrom"] = json!(read_from);
        let destination = scene.destination("central", collector.port());
        let mut sidecar = scene.sidecar(vec![settings], vec![destination]);
        eventually("the file to be seen", || sidecar.status()["streams"][0]["liveBytes"] == 10_000);
        pen.write(100);
        eventually("lines", || collector.message_count() == expected + 100);
        // Comes with its content, as a file that is moved here does.
        let aside = directory.join("aside");
        Pen::append_once(&aside, 1, 0, 50);
        fs::rename(&aside, directory.join("second.log")).unwrap();
        eventually("lines of the later file", || collector.message_count() >= expected + 150);
        // One that comes while nobody looks is no file of the first start either.
        sidecar.terminate();
        Pen::append_once(&directory.join("third.log"), 2, 0, 50);
        sidecar.start();
        eventually("lines of a file that came meanwhile", || collector.message_count() >= expected + 200);
        sidecar.terminate();
        assert_eq!(collector.message_count(), expected + 200, "{read_from}");
    }
}

#[test]
fn a_directory_that_is_empty_at_the_first_start_has_no_files_of_the_first_start() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut settings = forwarded("app", &log, "central");
    settings["readFrom"] = json!("End");
    let destination = scene.destination("central", collector.port());
    let sidecar = scene.sidecar(vec![settings], vec![destination]);
    eventually("the first look", || sidecar.status()["problems"][0] == "no file matches yet");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let aside = scene.root().join("aside");
    Pen::append_once(&aside, 0, 0, 100);
    fs::rename(&aside, &log).unwrap();
    assert_exact(&collector, &[("w00", 100)]);
}

#[test]
fn a_file_that_was_deleted_is_read_as_long_as_it_is_written() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut pen = Pen::open(&log, 0);
    pen.write(100);
    let destination = scene.destination("central", collector.port());
    let _sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    assert_exact(&collector, &[("w00", 100)]);
    fs::remove_file(&log).unwrap();
    pen.write(100);
    assert_exact(&collector, &[("w00", 200)]);
    // A new file under the same name is another generation; both are read.
    let mut other = Pen::open(&log, 1);
    other.write(100);
    pen.write(100);
    assert_exact(&collector, &[("w00", 300), ("w01", 100)]);
    // Written just before it is closed for good, without an end to its last line.
    pen.write(50);
    pen.write_bytes(b"w00 000000350 no end");
    drop(pen);
    assert_exact(&collector, &[("w00", 351), ("w01", 100)]);
}

#[test]
fn several_files_of_one_log_and_files_in_new_directories_are_all_read() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let base = scene.directory("logs");
    let pattern = base.join("**").join("*.log");
    let mut settings = forwarded("app", &pattern, "central");
    settings["files"]["exclude"] = json!(["*debug*"]);
    let mut pens: Vec<Pen> =
        (0..5).map(|index| Pen::open(&base.join(format!("{index}.log")), index)).collect();
    let mut excluded = Pen::open(&base.join("a-debug.log"), 90);
    let destination = scene.destination("central", collector.port());
    let _sidecar = scene.sidecar(vec![settings], vec![destination]);
    for pen in &mut pens {
        pen.write(100);
    }
    excluded.write(100);
    fs::create_dir_all(base.join("new/deeper")).unwrap();
    pens.push(Pen::open(&base.join("new/5.log"), 5));
    pens.push(Pen::open(&base.join("new/deeper/6.log"), 6));
    for pen in &mut pens {
        pen.write(50);
    }
    let names: Vec<String> = (0..7).map(|index| format!("w{index:02}")).collect();
    let written: Vec<(&str, u64)> =
        names.iter().zip(&pens).map(|(name, pen)| (name.as_str(), pen.written)).collect();
    assert_exact(&collector, &written);
    let all = collector.messages();
    assert!(all.iter().all(|message| memchr::memmem::find(&message.bytes, b"w90 ").is_none()));
}

#[test]
fn a_file_renamed_by_somebody_else_is_read_on_and_its_successor_too() {
    let scene = Scene::new();
    let collector = scene.collector(Settings::default());
    let log = scene.log("app.log");
    let mut old = Pen::open(&log, 0);
    old.write(100);
    let destination = scene.destination("central", collector.port());
    let _sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    assert_exact(&collector, &[("w00", 100)]);
    fs::rename(&log, scene.log("app.log.1")).unwrap();
    let mut new = Pen::open(&log, 1);
    for _ in 0..3 {
        old.write(100);
        new.write(100);
    }
    assert_exact(&collector, &[("w00", 400), ("w01", 300)]);
}

#[test]
fn plain_tcp_with_line_feeds_carries_the_same_messages() {
    let scene = Scene::new();
    let settings = Settings { framing: Framing::LineFeed, ..Settings::default() };
    let collector = Collector::start(settings).unwrap();
    let log = scene.log("app.log");
    Pen::open(&log, 0).write(1000);
    let destination = Destination::tcp("central", collector.port()).syslog("framing", "LineFeed");
    let _sidecar = scene.sidecar(vec![forwarded("app", &log, "central")], vec![destination]);
    assert_exact(&collector, &[("w00", 1000)]);
    assert!(messages(&collector).iter().all(|message| message.body.len() == 99));
}
