//! The real program: starts, answers over TCP and TLS, ends by signals, refuses what makes no sense.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "serve/program.rs"]
mod program;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use program::{Server, run};
use rustix::process::Signal;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;

#[test]
fn serves_until_it_is_asked_to_end() {
    let server = Server::start(&[]);
    assert!(server.get("/healthz").starts_with("HTTP/1.0 200"), "{}", server.get("/healthz"));
    let page = server.get("/");
    assert!(page.contains("<!doctype html>") || page.contains("<!DOCTYPE html>"), "{page}");
    server.wait_ready();
    let (status, log) = server.end(Signal::TERM);
    assert!(status.success(), "{status}: {log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_second_server_on_the_same_sqlite_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/gimp.sqlite?mode=rwc", folder.path().display());
    let server = Server::start(&["--database-url", &url]);
    let data = tempfile::tempdir().unwrap();
    let second = ["serve", "--driver", "fake", "--listen", "127.0.0.1:0", "--metrics-listen", "off"];
    let second = [&second[..], &["--data-dir", data.path().to_str().unwrap(), "--database-url", &url]].concat();
    let refused = run(&second);
    assert!(!refused.success && refused.err.contains("Several servers need PostgreSQL"), "{}", refused.err);
    assert!(server.end(Signal::TERM).0.success());
}

#[test]
fn requests_under_way_are_finished_and_no_more_are_taken() {
    let server = Server::start(&[]);
    let body = br#"{"email":"nobody@example.org","password":"wrong password"}"#;
    let mut stream = server.begin_login(body.len());
    server.signal(Signal::TERM);
    server.wait_closed();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(server.wait().0.success());
}

#[test]
fn interrupting_ends_it_and_all_sessions() {
    let mut server = Server::start(&[]);
    let token = server.register("ada@example.org");
    assert!(server.request("POST", "/api/v1/sessions", Some(&token), "{}").starts_with("HTTP/1.0 201"));
    server.signal(Signal::INT);
    assert_eq!(
        server.rest_of_output(),
        "Ending 1 sessions and saving what is open. Press Ctrl-C again to leave them running.\nAll sessions have ended.\n"
    );
    server.restart();
    let ended = program::json(&server.request("GET", "/api/v1/sessions", Some(&token), ""))["sessions"][0].clone();
    assert_eq!(
        (&ended["endReason"], &ended["endDetail"]),
        (&json!("evicted"), &json!("The platform was shut down or needed the room."))
    );
    assert!(server.end(Signal::TERM).0.success());
}

#[test]
fn a_closed_terminal_ends_it_and_leaves_sessions_running() {
    let mut server = Server::start(&[]);
    let token = server.register("ada@example.org");
    let begin = server.request("POST", "/api/v1/sessions", Some(&token), "{}");
    assert!(begin.starts_with("HTTP/1.0 201"), "{begin}");
    server.signal(Signal::HUP);
    assert_eq!(server.rest_of_output(), "");
    let (status, log) = server.wait();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("ending; sessions go on") && !log.contains("session ends"), "{log}");
}

#[test]
fn interrupting_twice_leaves_at_once() {
    let server = Server::start(&[]);
    let _under_way = server.begin_login(60);
    server.signal(Signal::INT);
    server.wait_closed();
    server.signal(Signal::INT);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(130), "{log}");
    assert!(log.contains("leaving at once; sessions go on"), "{log}");
}

#[test]
fn accounts_can_be_managed_without_the_server() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_str().unwrap();
    let base = ["--data-dir", path, "--bcrypt-cost", "4", "--public-url", "https://gimp.example.org"];
    let users =
        |arguments: &[&str], input: &str| program::run_with(&[&["users"], arguments, &base[..]].concat(), input);

    let added = users(&["add", "ada@example.org"], "a long password of hers\n");
    let words = "ada@example.org has an account now, as admin: the first account is an administrator's.\n";
    assert_eq!((added.out.as_str(), added.err.as_str()), (words, ""));
    let again = users(&["add", "Ada@example.org"], "a long password of hers\n");
    assert!(!again.success && again.err.contains("There is an account with this e-mail address"), "{}", again.err);
    let weak = users(&["add", "bob@example.org"], "short\n");
    assert!(!weak.success, "{}", weak.out);
    let second = users(&["add", "bob@example.org"], "another long password\n");
    assert_eq!(second.out, "bob@example.org has an account now, as user.\n");

    assert_eq!(users(&["set-role", "bob@example.org", "admin"], "").out, "bob@example.org has the role admin now.\n");
    assert!(users(&["set-role", "ada@example.org", "user"], "").success);
    let last = users(&["set-role", "bob@example.org", "user"], "");
    assert!(last.err.contains("last active administrator"), "{}", last.err);
    assert!(!users(&["set-role", "bob@example.org", "king"], "").success);

    let link = users(&["reset-password", "ada@example.org"], "").out;
    assert!(link.starts_with("https://gimp.example.org/reset#token="), "{link}");
    let nobody = users(&["reset-password", "eve@example.org"], "");
    assert!(!nobody.success && nobody.err.contains("no such account"), "{}", nobody.err);

    let table = users(&["list"], "").out;
    assert!(table.contains("ada@example.org  user   yes     never\n"), "{table}");
    let list: serde_json::Value = serde_json::from_str(&users(&["list", "--json"], "").out).unwrap();
    assert_eq!((&list[1]["email"], &list[1]["role"]), (&"bob@example.org".into(), &"admin".into()));
    assert_eq!(list[1]["lastSignInAt"], serde_json::Value::Null);
}

#[test]
fn accounts_can_be_managed_beside_the_server_but_its_database_is_not_changed_under_it() {
    use sea_orm::{ConnectionTrait, Database};
    let server = Server::start(&[]);
    let data = server.data().to_str().unwrap().to_owned();
    let base = ["--data-dir", &data, "--bcrypt-cost", "4"];
    let added = program::run_with(&[&["users", "add", "ada@example.org"], &base[..]].concat(), "a long password\n");
    assert!(added.success, "{}", added.err);
    let list = || run(&[&["users", "list"], &base[..]].concat());
    assert!(list().out.contains("ada@example.org  admin"), "{}", list().out);

    // As if the program were newer than the server that runs: it knows a migration that the database has not seen.
    let database = format!("sqlite://{data}/private/gimp-platform.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let changed = runtime.block_on(async {
        let db = Database::connect(database).await.unwrap();
        let changed = db.execute_unprepared("DELETE FROM seaql_migrations").await.unwrap();
        db.close().await.unwrap();
        changed.rows_affected()
    });
    assert!(changed > 0);
    let refused = list();
    assert!(!refused.success && refused.out.is_empty(), "{}", refused.out);
    let migrate = run(&[&["migrate"], &base[..]].concat());
    assert!(refused.err.contains("a server is running on"), "{}", refused.err);
    assert_eq!(refused.err, migrate.err);
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let server = Server::start(&["--metrics-listen", "127.0.0.1:0"]);
    server.get("/healthz");
    let address = server.log_after("metrics are at http://");
    let address = address.trim_end_matches("/metrics");
    let page = program::get(TcpStream::connect(address).unwrap(), "/metrics");
    for expected in [
        "gimp_platform_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1",
        "gimp_platform_http_request_seconds_bucket{route=\"/healthz\"",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "gimp_platform_connections ",
    ] {
        assert!(page.contains(expected), "{expected} is not in {page}");
    }
    let public = server.get("/metrics");
    assert!(public.starts_with("HTTP/1.0 404"), "{public}");
}

#[test]
fn a_udp_port_that_is_taken_is_told_and_stops_nothing() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = Server::start(&["--udp-listen", &address]);
    let expected = format!("There is no UDP port, WebRTC goes by TCP only: UDP {address}: Address already in use");
    assert!(server.greeting().contains(&expected), "{}", server.greeting());
    assert!(server.get("/healthz").starts_with("HTTP/1.0 200"));
    server.log_after("there is no UDP port");
}

#[test]
fn logs_can_be_json() {
    let server = Server::start(&["--log-format", "json", "--log", "debug"]);
    server.get("/api/v1/nothing?secret=hunter2");
    server.log_after("answered");
    let (status, log) = server.end(Signal::TERM);
    assert!(status.success());
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{line}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn more_connections_than_allowed_wait() {
    let server = Server::start(&["--max-connections", "16"]);
    let mut idle: Vec<TcpStream> = (0..16).map(|_| server.connect()).collect();
    let mut late = server.connect();
    late.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    late.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let waiting = late.read(&mut [0; 16]).expect_err("no answer while 16 are open");
    assert!(matches!(waiting.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{waiting}");
    idle.pop();
    late.set_read_timeout(Some(program::LIMIT)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[test]
fn a_certificate_of_its_own_is_made_once_and_kept_private() {
    let mut server = Server::start(&["--tls", "self-signed"]);
    let folder = server.data().join("private");
    let certificate = folder.join("certificate.pem");
    for name in ["certificate.pem", "certificate-key.pem"] {
        let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(server.url().starts_with("https://127.0.0.1:"), "{}", server.url());
    let made = std::fs::read(&certificate).unwrap();
    let answer = program::get(tls(&server, &made, &[]), "/healthz");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(!answer.to_lowercase().contains("strict-transport-security"), "{answer}");
    assert_eq!(tls(&server, &made, &[b"h2", b"http/1.1"]).conn.alpn_protocol(), Some(&b"h2"[..]));

    // Plain text gets no page.
    let mut plain = server.connect();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = vec![];
    let _ = plain.read_to_end(&mut text);
    assert!(!text.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&text));

    // WebRTC by TCP is told from TLS, and a stranger's gets no answer.
    let mut stranger = server.connect();
    stranger.write_all(b"\0\x14\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl").unwrap();
    assert_eq!(stranger.read(&mut [0; 16]).unwrap(), 0);
    assert!(program::get(tls(&server, &made, &[]), "/healthz").starts_with("HTTP/1.0 200"));

    server.restart();
    assert_eq!(std::fs::read(&certificate).unwrap(), made);
    assert!(program::get(tls(&server, &made, &[]), "/healthz").starts_with("HTTP/1.0 200"));
}

#[test]
fn the_picture_goes_through_tls() {
    let server = Server::start(&["--tls", "self-signed"]);
    let certificate = std::fs::read(server.data().join("private/certificate.pem")).unwrap();
    let connect = || tls(&server, &certificate, &[b"http/1.1"]);
    let send = |method: &str, path: &str, token: Option<&str>, body: &str| {
        program::json(&program::request(connect(), method, path, token, body))
    };
    let login = json!({"email": "ada@example.org", "password": "correct horse battery staple"}).to_string();
    let login = send("POST", "/api/v1/auth/register", None, &login);
    let token = login["accessToken"].as_str();
    let id = send("POST", "/api/v1/sessions", token, "{}")["id"].as_str().unwrap().to_owned();
    program::until(|| send("GET", &format!("/api/v1/sessions/{id}"), token, "")["status"] == "running");

    let mut stream = connect();
    let request = format!(
        "GET /session/{id}/vnc HTTP/1.1\r\nhost: {host}\r\norigin: https://{host}\r\ncookie: gimp_access={}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: binary\r\n\r\n",
        token.unwrap(),
        host = server.url().trim_start_matches("https://"),
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![];
    while !String::from_utf8_lossy(&answer).contains("RFB 003.") {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).unwrap();
        assert!(length > 0, "no RFB, but: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn renewed_certificates_come_into_use_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let issue = || {
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(&chain, issued.cert.pem()).unwrap();
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        issued.cert.pem().into_bytes()
    };
    let first = issue();
    let paths = [chain.to_str().unwrap(), key.to_str().unwrap()];
    let server = Server::start(&["--tls", "files", "--tls-certificate", paths[0], "--tls-key", paths[1]]);
    let answer = program::get(tls(&server, &first, &[]), "/healthz");
    assert!(answer.to_lowercase().contains("strict-transport-security: max-age"), "{answer}");

    let second = issue();
    server.signal(Signal::HUP);
    server.log_after("certificate read again");
    assert!(program::get(tls(&server, &second, &[]), "/healthz").starts_with("HTTP/1.0 200"));

    std::fs::write(&key, "no key").unwrap();
    server.signal(Signal::HUP);
    server.log_after("the old certificate stays in use");
    assert!(program::get(tls(&server, &second, &[]), "/healthz").starts_with("HTTP/1.0 200"));
    let (status, log) = server.end(Signal::TERM);
    assert!(status.success() && log.contains("ending; sessions go on"), "by SIGTERM and not before: {log}");
}

#[test]
fn the_public_is_warned_of_plain_text() {
    let server = Server::start(&["--listen", "0.0.0.0:0"]);
    assert!(server.greeting().contains("Warning: others can reach this address"), "{}", server.greeting());
    let behind = Server::start(&["--listen", "0.0.0.0:0", "--public-url", "https://gimp.example.org"]);
    assert_eq!(behind.greeting(), "GIMP Streaming Platform is ready: https://gimp.example.org\n");
}

#[test]
fn two_servers_do_not_share_a_data_directory() {
    let mut server = Server::start(&[]);
    let data = server.data().to_str().unwrap().to_owned();
    let second =
        run(&["serve", "--driver", "fake", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--data-dir", &data]);
    assert!(!second.success);
    assert!(second.err.contains("a server is running on"), "{}", second.err);
    // Neither does a killed one leave it locked.
    server.kill();
    server.restart();
    assert!(server.get("/healthz").starts_with("HTTP/1.0 200"));
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let result = run(&["serve", "--driver", "fake", "--listen", &address, "--data-dir", data.path().to_str().unwrap()]);
    assert!(!result.success);
    assert!(
        result.err.contains(&format!("can't listen on {address}")) && result.err.contains("`listen`"),
        "{}",
        result.err
    );
}

#[test]
fn mistakes_in_settings_end_it_before_it_starts() {
    let result = run(&["serve", "--session-minutes", "soon"]);
    assert!(!result.success);
    assert!(result.err.contains("`session_minutes` = \"soon\" in the command line"), "{}", result.err);
    let result = run(&["serve", "--config", "/nonexistent.toml"]);
    assert!(result.err.contains("/nonexistent.toml can't be read"), "{}", result.err);
    let result = run(&["serve", "--tls", "files", "--tls-certificate", "/none.pem", "--tls-key", "/none.pem"]);
    assert!(!result.success);
}

#[test]
fn settings_can_be_looked_at_without_secrets() {
    let result = run(&["serve", "--print-settings", "--database-url", "postgres://me:hunter2@db/x", "--quota-gb", "7"]);
    assert!(result.success, "{}", result.err);
    assert!(
        result.out.contains("quota_gb = 7") && result.out.contains("database_url = \"(secret)\""),
        "{}",
        result.out
    );
    assert!(!result.out.contains("hunter2"));
}

#[test]
fn migrates_and_leaves() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_str().unwrap();
    for _ in 0..2 {
        let result = run(&["migrate", "--data-dir", path, "--driver", "fake"]);
        assert!(result.success, "{}", result.err);
        assert!(data.path().join("private/gimp-platform.db").exists());
    }
}

#[test]
fn does_not_migrate_under_a_running_server() {
    let server = Server::start(&[]);
    let data = server.data().to_str().unwrap();
    let result = run(&["migrate", "--driver", "fake", "--data-dir", data]);
    assert!(!result.success);
    assert!(result.err.contains(&format!("a server is running on {data}; end it first")), "{}", result.err);
}

#[test]
fn doctor_looks_at_the_machine() {
    let data = tempfile::tempdir().unwrap();
    let base =
        ["doctor", "--data-dir", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--metrics-listen", "off"];
    let with = |more: &[&str]| run(&[&base[..], more].concat());
    let result = with(&["--driver", "fake"]);
    assert!(result.success, "{}", result.err);
    assert!(result.out.contains("data directory") && result.out.contains("The platform works here"), "{}", result.out);
    let result = with(&["--json", "--agent-path", "/nonexistent"]);
    assert!(!result.success);
    let report: serde_json::Value = serde_json::from_str(&result.out).unwrap();
    assert_eq!(report["usable"], false);
}

#[test]
fn prints_the_description_of_the_api_and_its_version() {
    let result = run(&["openapi"]);
    let committed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json");
    assert_eq!(result.out, std::fs::read_to_string(committed).unwrap());
    assert_eq!(run(&["--version"]).out, format!("gimp-platform {}\n", env!("CARGO_PKG_VERSION")));
    let help = run(&["serve", "--help"]).out;
    assert!(help.contains("--session-minutes <MINUTES>") && help.contains("--config <FILE>"), "{help}");
    assert!(!run(&[]).success);
}

/// A TLS connection that trusts exactly this certificate.
fn tls(server: &Server, certificate: &[u8], protocols: &[&[u8]]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), server.connect());
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream
}
