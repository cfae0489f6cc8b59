//! Opening connections: which certificates pass, and what is said when something does not fit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod connection_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use capstan_peers::certificates::{self, Certificates, Identity};
use capstan_peers::child::Child;
use capstan_peers::collector::{Collector, Settings, Tls, Versions};
use capstan_peers::misbehave::{Kind, Misbehaving};
use capstan_peers::ports;
use capstan_sidecar::forward::connection::{
    Broken, Closed, ConnectError, Connection, Deadlines, Security, Target,
};
use capstan_sidecar::forward::tls::{ClientCertificate, TlsSettings, TlsVersion, Trust};
use connection_support::{
    LONG, collector, frames, impatient, plain_target, send, server_tls, tls_settings, tls_target, with_client,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::time::timeout;

struct Place {
    directory: TempDir,
    made: Certificates,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let made = certificates::create(directory.path()).unwrap();
    Place { directory, made }
}

fn receiver(tls: Tls) -> Collector {
    Collector::start(Settings { tls: Some(tls), ..Settings::default() }).unwrap()
}

fn receiver_with(identity: &Identity) -> Collector {
    receiver(Tls { identity: identity.clone(), client_ca: None, versions: Versions::Both })
}

async fn open(target: &Target) -> Result<Connection, ConnectError> {
    Connection::open(target, &Deadlines::default()).await
}

async fn error(target: &Target) -> String {
    open(target).await.unwrap_err().to_string()
}

/// The message without the part that names host and address.
async fn reason(target: &Target) -> String {
    bare(target, error(target).await)
}

fn bare(target: &Target, text: String) -> String {
    let start = format!("cannot connect to '127.0.0.1': 127.0.0.1:{}: ", target.port);
    text.strip_prefix(&start).unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn pinned(fingerprint: &str) -> TlsSettings {
    TlsSettings {
        trust: Trust::Fingerprints(vec![fingerprint.parse().unwrap()]),
        client: None,
        server_name: None,
        min_version: TlsVersion::V1_2,
    }
}

fn openssl(directory: &Path, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    let place = place();
    for (versions, shown) in
        [(Versions::Only12, "TLSv1_2 TLS_ECDHE"), (Versions::Only13, "TLSv1_3 TLS13_AES")]
    {
        let receiver = collector(&place.made, versions, Settings::default());
        let mut connection = open(&tls_target(receiver.port(), tls_settings(&place.made))).await.unwrap();
        let protocol = connection.protocol().unwrap();
        assert!(protocol.starts_with(shown), "{protocol}");
        send(&mut connection, &frames(0..10, 100)).await.unwrap();
        assert!(matches!(connection.close(LONG).await, Closed::Confirmed));
        assert_eq!(receiver.message_count(), 10);
        assert_eq!(receiver.reports()[0].server_name.as_deref(), Some("localhost"));
    }
}

#[tokio::test]
async fn an_address_is_checked_against_the_addresses_in_the_certificate() {
    let place = place();
    let receiver = receiver_with(&place.made.server);
    let settings = TlsSettings { server_name: None, ..tls_settings(&place.made) };
    open(&tls_target(receiver.port(), settings)).await.unwrap();
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let place = place();
    let receiver = receiver_with(&place.made.server);
    // Where localhost is ::1 too, the first try is refused.
    let target =
        Target { host: "localhost".into(), ..tls_target(receiver.port(), tls_settings(&place.made)) };
    open(&target).await.unwrap();
}

#[tokio::test]
async fn a_version_that_is_too_old_is_named() {
    let place = place();
    let receiver = receiver(server_tls(&place.made, Versions::Only12));
    let settings = TlsSettings { min_version: TlsVersion::V1_3, ..tls_settings(&place.made) };
    assert_eq!(
        reason(&tls_target(receiver.port(), settings)).await,
        "the receiver speaks none of the TLS versions allowed here (1.3)"
    );
}

#[tokio::test]
async fn a_certificate_that_does_not_pass_says_which_check_failed() {
    let place = place();
    let made = &place.made;
    let seen = made.common_name_only.fingerprint().unwrap();
    let cases: [(&Identity, &str); 4] = [
        (
            &made.wrong_name,
            "the receiver's certificate is for 'elsewhere.example', not for 'localhost'; set the server name if that \
             is right",
        ),
        (
            &made.common_name_only,
            &format!(
                "the receiver's certificate has no subject alternative name, only the common name 'localhost', which \
                 does not count: have it reissued with the name 'localhost', or trust its fingerprint {seen}"
            ),
        ),
        (
            &made.stranger,
            "the receiver's certificate is signed by 'Another authority', which is not among the trusted authorities",
        ),
        (
            &made.expired,
            "the receiver's certificate expired at 2021-01-01T00:00:00Z, or one that it depends on",
        ),
    ];
    for (identity, expected) in cases {
        let receiver = receiver_with(identity);
        let target = tls_target(receiver.port(), tls_settings(made));
        assert_eq!(reason(&target).await, expected);
        assert_eq!(open(&target).await.unwrap_err().reason(), "certificate");
    }
}

#[tokio::test]
async fn a_certificate_whose_time_has_not_come_says_when_it_will() {
    let place = place();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(ca, ca_key).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2090, 2, 3);
    params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let path = |name: &str| place.directory.path().join(name);
    fs::write(path("future.pem"), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
    fs::write(path("future.key"), key.serialize_pem()).unwrap();
    fs::write(path("future-ca.pem"), ca.pem()).unwrap();

    let receiver = receiver_with(&Identity { certificate: path("future.pem"), key: path("future.key") });
    let settings = TlsSettings { trust: Trust::CaFile(path("future-ca.pem")), ..tls_settings(&place.made) };
    assert_eq!(
        reason(&tls_target(receiver.port(), settings)).await,
        "the receiver's certificate is not valid before 2090-02-03T00:00:00Z, or one that it depends on; is this \
         machine's clock right?"
    );
}

#[tokio::test]
async fn the_public_authorities_do_not_know_a_private_one() {
    let place = place();
    let receiver = receiver_with(&place.made.server);
    let settings = TlsSettings { trust: Trust::PublicRoots, ..tls_settings(&place.made) };
    let text = reason(&tls_target(receiver.port(), settings)).await;
    assert!(text.contains("signed by 'Capstan test authority', which is not among"), "{text}");
}

#[tokio::test]
async fn a_self_signed_authority_as_a_server_is_explained() {
    let place = place();
    let subject = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost";
    openssl(
        place.directory.path(),
        &format!("{subject} -addext subjectAltName=DNS:localhost -keyout s.key -out s.pem"),
    );
    let path = |name: &str| place.directory.path().join(name);
    let identity = Identity { certificate: path("s.pem"), key: path("s.key") };
    let receiver = receiver_with(&identity);
    let settings = TlsSettings { trust: Trust::CaFile(path("s.pem")), ..tls_settings(&place.made) };
    let fingerprint = identity.fingerprint().unwrap();
    assert_eq!(
        reason(&tls_target(receiver.port(), settings)).await,
        format!(
            "the receiver shows the certificate of an authority as its own: have one issued for a server, or trust \
             its fingerprint {fingerprint}"
        )
    );
    open(&tls_target(receiver.port(), pinned(&fingerprint))).await.unwrap();
}

#[tokio::test]
async fn a_fingerprint_stands_in_place_of_authority_name_and_date() {
    let place = place();
    let made = &place.made;
    for identity in [&made.server, &made.stranger, &made.wrong_name, &made.expired, &made.common_name_only] {
        let receiver = receiver_with(identity);
        let target = tls_target(receiver.port(), pinned(&identity.fingerprint().unwrap()));
        open(&target).await.unwrap();
    }
    let directory = place.directory.path();
    let shown = openssl(directory, "x509 -in server.pem -noout -fingerprint -sha1");
    let receiver = receiver_with(&made.server);
    let sha_1 = format!("sha-1:{}", shown.trim().split_once('=').unwrap().1);
    open(&tls_target(receiver.port(), pinned(&sha_1))).await.unwrap();
}

#[tokio::test]
async fn another_fingerprint_is_shown_so_that_it_can_be_compared() {
    let place = place();
    let receiver = receiver_with(&place.made.server);
    let target = tls_target(receiver.port(), pinned(&place.made.stranger.fingerprint().unwrap()));
    let seen = place.made.server.fingerprint().unwrap();
    assert_eq!(
        reason(&target).await,
        format!(
            "the receiver's certificate has the fingerprint {seen}, which is not among the configured ones"
        )
    );
}

/// Shows somebody else's certificate, and signs with a key of its own.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_refused() {
    let place = place();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let foreign_key = place.made.stranger.private_key().unwrap();
    let signer = provider.key_provider.load_private_key(foreign_key).unwrap();
    let certified = Arc::new(CertifiedKey::new(place.made.server.chain().unwrap(), signer));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Impostor(certified.clone())));
        let listener = ports::listener().unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut session = rustls::ServerConnection::new(Arc::new(server)).unwrap();
            session.complete_io(&mut stream).unwrap_err();
        });
        let text = reason(&tls_target(port, pinned(&place.made.server.fingerprint().unwrap()))).await;
        assert_eq!(text, "the receiver does not hold the key of the certificate it shows");
        serving.join().unwrap();
    }
}

/// What somebody learns whose client certificate is refused: at once in TLS 1.2, a little later in 1.3.
async fn refusal(target: &Target) -> String {
    match open(target).await {
        Err(error) => bare(target, error.to_string()),
        Ok(mut connection) => timeout(LONG, connection.watch()).await.unwrap().to_string(),
    }
}

#[tokio::test]
async fn mutual_tls_takes_the_right_certificate_and_explains_the_others() {
    let place = place();
    let made = &place.made;
    for versions in [Versions::Only12, Versions::Only13] {
        let receiver = receiver(Tls { client_ca: Some(made.ca.clone()), ..server_tls(made, versions) });
        let target = |settings| tls_target(receiver.port(), settings);
        let accepted = open(&target(with_client(tls_settings(made), &made.client))).await.unwrap();
        assert!(matches!(accepted.close(LONG).await, Closed::Confirmed));
        assert!(receiver.reports().last().unwrap().client_certificate);
        assert_eq!(
            refusal(&target(tls_settings(made))).await,
            "the receiver wants a client certificate, and none was given or none fits"
        );
        assert_eq!(
            refusal(&target(with_client(tls_settings(made), &made.client_of_other_ca))).await,
            "the receiver does not know the authority of our client certificate"
        );
    }
}

#[tokio::test]
async fn keys_of_every_common_form_are_accepted() {
    let place = place();
    let directory = place.directory.path();
    openssl(
        directory,
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=a -keyout rsa8.key -out rsa.pem",
    );
    openssl(directory, "rsa -in rsa8.key -traditional -out rsa1.key");
    openssl(directory, "ecparam -name prime256v1 -genkey -noout -out ec1.key");
    openssl(directory, "pkcs8 -topk8 -nocrypt -in ec1.key -out ec8.key");
    openssl(directory, "req -x509 -new -key ec1.key -days 30 -subj /CN=b -out ec.pem");
    openssl(directory, "genpkey -algorithm ed25519 -out ed.key");
    openssl(directory, "req -x509 -new -key ed.key -days 30 -subj /CN=c -out ed.pem");
    let forms = [
        ("rsa.pem", "rsa8.key", "PRIVATE KEY"),
        ("rsa.pem", "rsa1.key", "RSA PRIVATE KEY"),
        ("ec.pem", "ec1.key", "EC PRIVATE KEY"),
        ("ec.pem", "ec8.key", "PRIVATE KEY"),
        ("ed.pem", "ed.key", "PRIVATE KEY"),
    ];
    for (certificate, key, form) in forms {
        let (certificate, key) = (directory.join(certificate), directory.join(key));
        assert!(fs::read_to_string(&key).unwrap().starts_with(&format!("-----BEGIN {form}-----")));
        let client = Some(ClientCertificate { certificate, key });
        let session = TlsSettings { client, ..tls_settings(&place.made) }.load("localhost").unwrap();
        assert!(session.client_not_after.is_some());
    }
}

fn settings_error(place: &Place, change: impl FnOnce(&mut TlsSettings, &Path)) -> String {
    let mut settings = with_client(tls_settings(&place.made), &place.made.client);
    change(&mut settings, place.directory.path());
    let text = settings.load("localhost").unwrap_err().to_string();
    text.replace(&place.directory.path().display().to_string(), "DIR")
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_is_wrong() {
    let place = place();
    let directory = place.directory.path();
    let write = |name: &str, content: &str| fs::write(directory.join(name), content).unwrap();
    write("empty.pem", "");
    write("torn.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    write("junk.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    write("junk.key", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
    openssl(directory, "pkcs8 -topk8 -in client.key -passout pass:x -out encrypted8.key");
    openssl(directory, "ec -in client.key -aes128 -passout pass:x -out encrypted1.key");

    type Change = fn(&mut TlsSettings, PathBuf);
    let ca: Change = |settings, path| settings.trust = Trust::CaFile(path);
    let certificate: Change = |settings, path| settings.client.as_mut().unwrap().certificate = path;
    let key: Change = |settings, path| settings.client.as_mut().unwrap().key = path;
    let encrypted = "is encrypted, and there is nobody to ask for its passphrase";
    for (change, file, expected) in [
        (ca, "absent.pem", "cannot read DIR/absent.pem: No such file or directory (os error 2)"),
        (ca, "empty.pem", "there is no certificate in DIR/empty.pem (it has to be in PEM form)"),
        (ca, "client.key", "there is no certificate in DIR/client.key (it has to be in PEM form)"),
        (ca, "torn.pem", "DIR/torn.pem is no PEM file: "),
        (ca, "junk.pem", "certificate 1 in DIR/junk.pem is not usable: "),
        (certificate, "empty.pem", "there is no certificate in DIR/empty.pem (it has to be in PEM form)"),
        (certificate, "junk.pem", "certificate 1 in DIR/junk.pem is not usable: "),
        (
            certificate,
            "server.pem",
            "the private key in DIR/client.key does not belong to the certificate in DIR/server.pem",
        ),
        (key, "absent.key", "cannot read DIR/absent.key: "),
        (
            key,
            "ca.pem",
            "there is no private key in DIR/ca.pem (it has to be in PEM form: PKCS#1, PKCS#8 or SEC1)",
        ),
        (key, "encrypted8.key", &format!("the private key in DIR/encrypted8.key {encrypted}")),
        (key, "encrypted1.key", &format!("the private key in DIR/encrypted1.key {encrypted}")),
        (key, "junk.key", "the private key in DIR/junk.key is not usable: "),
        (
            key,
            "server.key",
            "the private key in DIR/server.key does not belong to the certificate in DIR/client.pem",
        ),
    ] {
        let text = settings_error(&place, |settings, directory| change(settings, directory.join(file)));
        assert!(text.starts_with(expected), "{file}: {text}");
    }
}

#[tokio::test]
async fn renewed_files_count_from_the_next_connection_on() {
    let place = place();
    let made = &place.made;
    let receiver = receiver_with(&made.server);
    let path = place.directory.path().join("renewed.pem");
    fs::copy(&made.other_ca, &path).unwrap();
    let settings = TlsSettings { trust: Trust::CaFile(path.clone()), ..tls_settings(made) };
    let target = tls_target(receiver.port(), settings);
    assert!(error(&target).await.contains("not among the trusted authorities"));
    fs::copy(&made.ca, &path).unwrap();
    open(&target).await.unwrap();
}

#[tokio::test]
async fn peers_that_speak_no_tls_are_told_apart() {
    let place = place();
    let closed = "the receiver closed the connection during the handshake; is this port for TLS?";
    for (kind, deadlines, expected) in [
        (
            Kind::PlainText,
            Deadlines::default(),
            "the receiver does not speak TLS on this port: it answered \"220 mail.example ESMTP ready\"",
        ),
        (Kind::Silent, impatient(), "no TLS handshake within 0.3 s; is this port for TLS?"),
        (Kind::CloseAtOnce, Deadlines::default(), closed),
        (Kind::ResetAtOnce, Deadlines::default(), closed),
        (Kind::ResetWithUnread, Deadlines::default(), closed),
        (Kind::EofThenReset, Deadlines::default(), closed),
        (Kind::FullBacklog, impatient(), "no answer within 0.3 s"),
    ] {
        let peer = Misbehaving::start(kind).unwrap();
        let target = tls_target(peer.port(), tls_settings(&place.made));
        let error = Connection::open(&target, &deadlines).await.unwrap_err();
        let text = bare(&target, error.to_string());
        // A reset may come so early that it looks like a failed connect.
        let early = kind == Kind::ResetAtOnce && text.starts_with("Connection reset by peer");
        assert!(early || text == expected, "{kind:?}: {text}");
    }
}

#[tokio::test]
async fn garbage_in_the_handshake_is_an_error_and_no_panic() {
    let place = place();
    let peer = Misbehaving::start(Kind::Garbage).unwrap();
    let text = reason(&tls_target(peer.port(), tls_settings(&place.made))).await;
    assert!(text.starts_with("the handshake failed: "), "{text}");
}

#[tokio::test]
async fn a_refused_port_and_a_bad_name_are_told() {
    let port = ports::free().unwrap();
    let text = reason(&plain_target(port)).await;
    assert!(text.starts_with("Connection refused"), "{text}");
    assert_eq!(open(&plain_target(port)).await.unwrap_err().reason(), "connect");
    // A label of more than 63 bytes is refused by the resolver itself, without asking anybody.
    let host = "x".repeat(300);
    let text = error(&Target { host: host.clone(), port, security: Security::Plain }).await;
    assert!(text.starts_with(&format!("cannot look up '{host}': ")), "{text}");
}

#[test]
fn a_server_name_that_is_none_is_refused() {
    let place = place();
    let settings = TlsSettings { server_name: Some("not a name".into()), ..tls_settings(&place.made) };
    assert_eq!(
        settings.load("localhost").unwrap_err().to_string(),
        "'not a name' is neither a host name nor an IP address, so no certificate can be checked against it"
    );
}

/// `openssl s_server` with the good certificate; what it receives goes to a file.
fn s_server(place: &Place, arguments: &str) -> (Child, u16, PathBuf) {
    let port = ports::free().unwrap();
    let output = place.directory.path().join(format!("s_server-{port}"));
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-quiet"]);
    command.arg("-cert").arg(&place.made.server.certificate).arg("-key").arg(&place.made.server.key);
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    let child = Child::spawn_logging("openssl s_server", &mut command, &output).unwrap();
    ports::wait_listening(port, LONG).unwrap();
    (child, port, output)
}

#[tokio::test]
async fn openssl_receives_what_is_sent() {
    let place = place();
    for version in ["-tls1_2", "-tls1_3"] {
        // With -rev it answers, in data that nobody wants; with -naccept 1 it ends after the first connection.
        let (_child, port, _) = s_server(&place, &format!("{version} -rev -naccept 1"));
        let mut connection = open(&tls_target(port, tls_settings(&place.made))).await.unwrap();
        for _ in 0..100 {
            send(&mut connection, b"a line that openssl turns around\n").await.unwrap();
        }
        let idle = timeout(Duration::from_millis(200), connection.watch()).await;
        assert!(idle.is_err(), "data is no end: {idle:?}");
        let closed = connection.close(LONG).await;
        assert!(matches!(closed, Closed::Confirmed), "{version}: {closed:?}");
    }
}

#[tokio::test]
async fn an_old_receiver_without_ecdhe_is_explained() {
    let place = place();
    let directory = place.directory.path();
    let subject =
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext basicConstraints=CA:FALSE";
    openssl(directory, &format!("{subject} -addext subjectAltName=DNS:localhost -keyout r.key -out r.pem"));
    let (certificate, key) = (directory.join("r.pem"), directory.join("r.key"));
    let arguments =
        format!("-tls1_2 -cipher AES128-SHA -cert {} -key {}", certificate.display(), key.display());
    let (_child, port, _) = s_server(&place, &arguments);
    let settings = TlsSettings { trust: Trust::CaFile(certificate), ..tls_settings(&place.made) };
    let text = reason(&tls_target(port, settings)).await;
    assert!(text.starts_with("the receiver and capstan have no cipher suite in common"), "{text}");
}

#[tokio::test]
async fn a_receiver_with_tls_1_1_only_is_explained() {
    let place = place();
    let (_child, port, _) = s_server(&place, "-tls1_1 -cipher ALL:@SECLEVEL=0");
    assert_eq!(
        reason(&tls_target(port, tls_settings(&place.made))).await,
        "the receiver speaks none of the TLS versions allowed here (1.2, 1.3)"
    );
}

#[tokio::test]
async fn a_receiver_that_talks_without_end_is_listened_to_without_growing() {
    let place = place();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(place.made.server.chain().unwrap(), place.made.server.private_key().unwrap())
        .unwrap();
    let listener = ports::listener().unwrap();
    let port = listener.local_addr().unwrap().port();
    let talking = std::thread::spawn(move || {
        use std::io::Write;
        let (stream, _) = listener.accept().unwrap();
        let session = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, stream);
        let mut written = 0;
        // Ends with an error when the other side hangs up.
        while stream.write_all(&[b'!'; 16 << 10]).is_ok() {
            written += 1;
        }
        written
    });
    let mut connection =
        Connection::open(&tls_target(port, tls_settings(&place.made)), &Deadlines::default()).await.unwrap();
    let watched = timeout(Duration::from_millis(300), connection.watch()).await;
    assert!(watched.is_err(), "{watched:?}");
    let closed = connection.close(Duration::from_millis(300)).await;
    assert!(!matches!(closed, Closed::Confirmed), "{closed:?}");
    assert!(talking.join().unwrap() > 64, "it was listened to");
}

#[tokio::test]
async fn an_alert_after_the_handshake_is_the_reason_that_is_told() {
    let place = place();
    let made = &place.made;
    let tls = Tls { client_ca: Some(made.ca.clone()), ..server_tls(made, Versions::Only13) };
    let receiver = receiver(tls);
    let mut connection = open(&tls_target(receiver.port(), tls_settings(made))).await.unwrap();
    let sending = async {
        loop {
            if let Err(broken) = send(&mut connection, &frames(0..1000, 200)).await {
                break broken;
            }
        }
    };
    let broken = timeout(LONG, sending).await.unwrap();
    assert!(matches!(broken, Broken::Alert(_) | Broken::Reset), "{broken:?}");
}
