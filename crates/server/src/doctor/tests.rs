//! Each finding of `doctor` on settings that bring it about.

use super::*;
use crate::config::{DriverKind, Secret, UdpListen};

struct Examined {
    report: Report,
}

impl Examined {
    async fn of(change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            data_dir: data.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            metrics_listen: None,
            driver: DriverKind::Fake,
            ..Settings::default()
        };
        change(&mut settings);
        Self { report: examine(&settings).await }
    }

    fn state(&self, name: &str) -> State {
        self.check(name).state
    }

    fn check(&self, name: &str) -> &Check {
        self.report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{}", self.report.text()))
    }
}

#[tokio::test]
async fn a_fresh_machine_is_usable() {
    let examined = Examined::of(|_| {}).await;
    assert!(examined.report.usable, "{}", examined.report.text());
    assert_eq!(examined.state("data directory"), State::Ok);
    assert_eq!(examined.check("database").detail, "SQLite; made at the first start");
    assert_eq!(examined.state("encryption"), State::Ok);
    assert_eq!(examined.state("mail"), State::Off);
    assert_eq!(examined.state("GIMP"), State::Off);
    let text = examined.report.text();
    assert!(text.contains("-> set smtp_host and mail_from"), "{text}");
    assert!(text.ends_with("The platform works here; what is off makes it better.\n"), "{text}");
    let json = serde_json::to_value(&examined.report).unwrap();
    assert_eq!(json["checks"][0]["state"], "ok");
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_fails() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let examined = Examined::of(|settings| settings.data_dir = file.path().to_owned()).await;
    assert!(!examined.report.usable);
    assert_eq!(examined.state("data directory"), State::Failed);
    assert!(examined.report.text().contains("can't start here until what FAILED is mended"));
}

#[tokio::test]
async fn the_database_is_asked_for_its_schema() {
    let database = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/x.db?mode=rwc", database.path().display());
    crate::db::connect(&url).await.unwrap().close().await.unwrap();
    let examined = Examined::of(|settings| settings.database_url = Some(Secret::new(url.as_str()))).await;
    assert_eq!(examined.check("database").detail, "SQLite; its schema is up to date");

    let url = format!("sqlite://{}/empty.db?mode=rwc", database.path().display());
    let examined = Examined::of(|settings| settings.database_url = Some(Secret::new(url.as_str()))).await;
    assert_eq!(examined.check("database").detail, "SQLite; empty, its schema is made at the first start");
    assert_eq!(std::fs::metadata(database.path().join("empty.db")).unwrap().len(), 0, "looking changes nothing");

    let nobody = "postgres://me:hunter2@127.0.0.1:1/x";
    let examined = Examined::of(|settings| settings.database_url = Some(Secret::new(nobody))).await;
    assert_eq!(examined.state("database"), State::Failed);
    assert!(!examined.report.text().contains("hunter2"), "{}", examined.report.text());
}

#[tokio::test]
async fn a_taken_port_fails_unless_our_own_server_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let examined = Examined::of(|settings| settings.metrics_listen = Some(address)).await;
    assert_eq!(examined.state("metrics port"), State::Failed);
    assert!(examined.check("metrics port").fix.as_ref().unwrap().contains("metrics_listen"));

    let mut lock = None;
    let examined = Examined::of(|settings| {
        settings.listen = address;
        crate::data_dir::prepare(&settings.data_dir).unwrap();
        lock = Some(crate::data_dir::lock(settings).unwrap());
    })
    .await;
    assert_eq!(examined.state("web port"), State::Ok);
    assert!(examined.check("web port").detail.contains("a server runs on this data directory"));
}

#[tokio::test]
async fn the_udp_port_is_never_a_failure() {
    let fresh = Examined::of(|_| {}).await;
    assert_eq!(fresh.state("UDP port"), State::Ok);
    let off = Examined::of(|settings| settings.udp_listen = Some(UdpListen::Off)).await;
    assert_eq!(off.state("UDP port"), State::Off);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let busy = Examined::of(|settings| settings.udp_listen = Some(UdpListen::At(address))).await;
    assert!(busy.report.usable);
    assert_eq!(busy.state("UDP port"), State::Off);
    assert!(busy.check("UDP port").fix.as_ref().unwrap().contains("udp_listen"));
    let behind = Examined::of(|settings| settings.public_url = Some("https://gimp.example.org".into())).await;
    assert_eq!(behind.state("UDP port"), State::Off);
    assert!(behind.check("UDP port").detail.contains("from this machine only"));
}

#[tokio::test]
async fn public_plain_text_is_off_and_a_broken_certificate_fails() {
    let public = |settings: &mut Settings| settings.listen = "0.0.0.0:0".parse().unwrap();
    assert_eq!(Examined::of(public).await.state("encryption"), State::Off);
    let behind = |settings: &mut Settings| {
        public(settings);
        settings.public_url = Some("https://gimp.example.org".into());
    };
    assert_eq!(Examined::of(behind).await.state("encryption"), State::Ok);
    let own = |settings: &mut Settings| settings.tls = TlsMode::SelfSigned;
    assert_eq!(Examined::of(own).await.state("encryption"), State::Ok);
    let broken = |settings: &mut Settings| {
        settings.tls = TlsMode::Files;
        settings.tls_certificate = Some("/nonexistent.pem".into());
        settings.tls_key = Some("/nonexistent.pem".into());
    };
    let examined = Examined::of(broken).await;
    assert_eq!(examined.state("encryption"), State::Failed);
    assert!(examined.check("encryption").detail.contains("/nonexistent.pem is no certificate"));
    let mailing = |settings: &mut Settings| settings.smtp_host = Some("mail.example.org".into());
    assert_eq!(Examined::of(mailing).await.state("mail"), State::Ok);
}

#[tokio::test]
async fn the_machine_is_looked_at_for_the_local_driver() {
    let examined = Examined::of(|settings| {
        settings.driver = DriverKind::Local;
        settings.agent_path = Some("/nonexistent/gimp-session".into());
    })
    .await;
    assert!(!examined.report.usable);
    assert_eq!(examined.state("gimp-session"), State::Failed);
    assert!(examined.check("gimp-session").detail.contains("agent_path"));
}
