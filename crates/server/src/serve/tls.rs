//! Certificates: the administrator's, read again when the files change or on SIGHUP, or one of our own making.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Settings, TlsMode};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Life of a certificate of our own making, days.
const OWN_DAYS: i64 = 3650;

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
}

/// The certificate the settings ask for, made if it is to be of our own making and there is none; None without TLS.
///
/// # Errors
/// When one can't be made.
pub fn certificate(settings: &Settings) -> anyhow::Result<Option<Certificate>> {
    match (settings.tls, &settings.tls_certificate, &settings.tls_key) {
        (TlsMode::Off, _, _) => Ok(None),
        (TlsMode::Files, Some(chain), Some(key)) => Ok(Some(Certificate { chain: chain.clone(), key: key.clone() })),
        (TlsMode::Files, _, _) => anyhow::bail!("tls = \"files\" needs tls_certificate and tls_key"),
        (TlsMode::SelfSigned, _, _) => {
            let folder = settings.private_dir();
            let own = Certificate { chain: folder.join("certificate.pem"), key: folder.join("certificate-key.pem") };
            if !own.chain.exists() || !own.key.exists() {
                own.make(settings).context("the self-signed certificate can't be made")?;
            }
            tracing::info!(sha256 = own.fingerprint()?, "certificate");
            Ok(Some(own))
        }
    }
}

impl Certificate {
    fn make(&self, settings: &Settings) -> anyhow::Result<()> {
        let key = rcgen::KeyPair::generate()?;
        let mut parameters = rcgen::CertificateParams::new(names(settings))?;
        let now = time::OffsetDateTime::now_utc();
        parameters.not_before = now - time::Duration::days(1);
        parameters.not_after = now + time::Duration::days(OWN_DAYS);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "GIMP Streaming Platform");
        let certificate = parameters.self_signed(&key)?;
        // The key first: a certificate without a key is made again.
        write_private(&self.key, key.serialize_pem().as_bytes())?;
        write_private(&self.chain, certificate.pem().as_bytes())
    }

    /// SHA-256 of the certificate, as browsers show it.
    fn fingerprint(&self) -> anyhow::Result<String> {
        let certificate = CertificateDer::from_pem_file(&self.chain)?;
        let hex: Vec<String> = Sha256::digest(certificate.as_ref()).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(hex.join(":"))
    }

    fn read(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let chain = CertificateDer::pem_file_iter(&self.chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("{} is no certificate in PEM format", self.chain.display()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .with_context(|| format!("{} is no private key in PEM format", self.key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .with_context(|| format!("{} and {} don't fit together", self.chain.display(), self.key.display()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What the server listens with.
    ///
    /// # Errors
    /// Names the file that can't be used.
    pub fn config(&self) -> anyhow::Result<RustlsConfig> {
        self.read().map(RustlsConfig::from_config)
    }

    /// Follows the files: renewed certificates come into use without a restart. What can't be used is not taken.
    pub async fn keep_fresh(self, config: RustlsConfig) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::error!("can't watch for SIGHUP: certificates are not renewed");
            return;
        };
        let mut known = self.changed();
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let now = self.changed();
                    if now == known {
                        continue;
                    }
                    known = now;
                }
            }
            self.refresh(&config);
        }
    }

    fn refresh(&self, config: &RustlsConfig) {
        match self.read() {
            Ok(fresh) => {
                config.reload_from_config(fresh);
                tracing::info!("certificate read again");
            }
            Err(error) => tracing::warn!("the old certificate stays in use: {error:#}"),
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.chain, &self.key].map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
    }
}

/// Under what names the platform is reached.
fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut add = |name: String| {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    let listen: IpAddr = settings.listen.ip();
    if !listen.is_unspecified() {
        add(listen.to_string());
    }
    if let Some(host) = settings.public_url().parse::<http::Uri>().ok().as_ref().and_then(http::Uri::host) {
        add(host.trim_matches(['[', ']']).to_owned());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A name a certificate can't hold is left out.
    if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        add(host);
    }
    names
}

/// Readable by the server only, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(&fresh, path)?)
}
