//! Settings: flags over environment `GIMP_PLATFORM_*` over one TOML file over defaults.
//!
//! `KEYS` is the one list of what can be set; flags, environment variables and error messages come from it. Names are
//! the same everywhere: `session_minutes` in the file, `GIMP_PLATFORM_SESSION_MINUTES`, `--session-minutes`.

pub(crate) mod load;
mod network;
mod secret;
#[cfg(test)]
mod tests;

pub use load::{Loaded, SettingsError, load};
pub use network::{PublicAddress, UdpListen};
pub use secret::Secret;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use protocol::agent::{CopyTimes, DisplayServer};
use protocol::session::HistoryLimits;
use serde::{Deserialize, Serialize};

use crate::driver::kubernetes::options::KubernetesOptions;

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of the one TCP port.
    pub listen: SocketAddr,
    /// Address of the one UDP port; none: that of `listen`.
    pub udp_listen: Option<UdpListen>,
    /// Addresses at which browsers reach the UDP port, and the web port for WebRTC by TCP, where the server can't know them.
    pub public_addresses: Vec<PublicAddress>,
    /// URLs of TURN servers, at most 8.
    pub turn_urls: Vec<String>,
    /// What the TURN servers and we sign credentials with.
    pub turn_secret: Option<Secret>,
    /// Address of `/metrics`; none switches it off.
    pub metrics_listen: Option<SocketAddr>,
    /// Where workspaces, the embedded database and secrets live.
    pub data_dir: PathBuf,
    /// `sqlite:` or `postgres:` URL; none: SQLite in the data directory.
    pub database_url: Option<Secret>,
    /// URL people reach the platform at, without a trailing slash; none: derived from `listen` and `tls`.
    pub public_url: Option<String>,
    pub tls: TlsMode,
    /// PEM certificate chain for `tls = "files"`.
    pub tls_certificate: Option<PathBuf>,
    /// PEM private key for `tls = "files"`.
    pub tls_key: Option<PathBuf>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Open TCP connections, 16..=65535; more wait.
    pub max_connections: u32,
    /// Requests one address may make in a minute, 60..=1000000.
    pub requests_per_minute: u32,
    pub registration: Registration,
    /// Work factor of password hashes, 4..=16.
    pub bcrypt_cost: u32,
    /// Minutes an access token is valid, 1..=1440.
    pub access_minutes: u32,
    /// Days an unused sign-in stays valid, 1..=365.
    pub refresh_days: u32,
    /// Mail server; none: reset links are printed in the log.
    pub smtp_host: Option<String>,
    /// None: 25, 587 or 465, by `smtp_security`.
    pub smtp_port: Option<u16>,
    pub smtp_security: SmtpSecurity,
    pub smtp_user: Option<String>,
    pub smtp_password: Option<Secret>,
    /// Sender of mails, e.g. `GIMP <gimp@example.org>`.
    pub mail_from: Option<String>,
    pub driver: DriverKind,
    /// Running sessions one user may have, 1..=16.
    pub sessions_per_user: u16,
    /// Sessions the machine runs at once, 1..=10000; none: from its memory and cores.
    pub session_limit: Option<u16>,
    /// Minutes a session lives unless extended, 1..=10080.
    pub session_minutes: u32,
    /// Minutes a session may live however often it is extended, 1..=100000.
    pub session_max_minutes: u32,
    /// Minutes without human input after which a session is ended, 0..=10080, 0 = never.
    pub idle_minutes: u32,
    /// Minutes before an end at which the user is warned, 0..=60.
    pub warn_minutes: u32,
    /// Seconds without input after which unsaved images are copied, 3..=600.
    pub copy_pause_seconds: u32,
    /// Seconds that unsaved changes may go without a copy while the user does not pause, `copy_pause_seconds`..=3600.
    pub copy_seconds: u32,
    /// Workspace quota of a new user, GiB, 1..=10000.
    pub quota_gb: u32,
    pub quota_mechanism: QuotaSetting,
    /// Versions of one file that are kept, 0..=1000; 0 = none are made.
    pub versions_kept: u32,
    /// Days versions are kept, 1..=3650; the newest of a file stays.
    pub versions_days: u32,
    /// `xorg`, `xvnc`, or the command line of another VNC server; see `display_server`.
    pub display: String,
    /// Path of `gimp-session`; none: beside this program, then PATH.
    pub agent_path: Option<PathBuf>,
    /// File of 32 bytes that agents' tokens are signed with; none: one made in the data directory.
    pub key_path: Option<PathBuf>,
    /// Seconds that the server answers after it was told to end, and others are asked already, 0..=300.
    pub drain_seconds: u32,
    /// First uid for sessions when the server runs as root, 1000..=2000000000.
    pub first_uid: u32,
    /// Days the access log is kept, 1..=3650.
    pub access_log_days: u32,
    /// Days the audit trail is kept, 1..=3650.
    pub audit_days: u32,
    /// `tracing` filter: `info`, `debug`, `warn,server::session=debug`.
    pub log: String,
    pub log_format: LogFormat,
    /// The table `[kubernetes]` of the file: flags and variables have nothing like it.
    pub kubernetes: KubernetesOptions,
}

macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }
    };
}

choice!(DriverKind { Local, Kubernetes, Fake });
choice!(
    /// How connections are encrypted.
    TlsMode {
        Off,
        /// A certificate made once and kept in the data directory.
        SelfSigned,
        /// `tls_certificate` and `tls_key`.
        Files,
    }
);
choice!(
    /// Who may make an account.
    Registration {
        Open,
        /// Holders of an invite code; the first account needs none.
        Invite,
        /// Nobody; only the first account.
        Closed,
    }
);
choice!(SmtpSecurity {
    /// Plain text; only for a mail server on this machine.
    None,
    Starttls,
    Tls,
});
choice!(
    /// What keeps workspaces within their quota.
    QuotaSetting {
        /// The best that works on this machine.
        Auto,
        ProjectQuota,
        Image,
        Watcher,
    }
);
choice!(LogFormat { Text, Json });

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            udp_listen: None,
            public_addresses: vec![],
            turn_urls: vec![],
            turn_secret: None,
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9090))),
            data_dir: default_data_dir(rustix::process::geteuid().is_root(), |name| std::env::var_os(name)),
            database_url: None,
            public_url: None,
            tls: TlsMode::Off,
            tls_certificate: None,
            tls_key: None,
            trusted_proxies: vec![],
            max_connections: 4096,
            requests_per_minute: 6000,
            registration: Registration::Open,
            bcrypt_cost: 12,
            access_minutes: 120,
            refresh_days: 30,
            smtp_host: None,
            smtp_port: None,
            smtp_security: SmtpSecurity::Starttls,
            smtp_user: None,
            smtp_password: None,
            mail_from: None,
            driver: DriverKind::Local,
            sessions_per_user: 1,
            session_limit: None,
            session_minutes: 120,
            session_max_minutes: 1440,
            idle_minutes: 60,
            warn_minutes: 5,
            copy_pause_seconds: CopyTimes::default().pause_seconds,
            copy_seconds: CopyTimes::default().longest_seconds,
            quota_gb: 20,
            quota_mechanism: QuotaSetting::Auto,
            versions_kept: HistoryLimits::default().per_file,
            versions_days: HistoryLimits::default().days,
            display: "xorg".to_owned(),
            agent_path: None,
            key_path: None,
            drain_seconds: 0,
            first_uid: 200_000,
            access_log_days: 30,
            audit_days: 365,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            kubernetes: KubernetesOptions::default(),
        }
    }
}

/// `/var/lib/gimp-platform` for root, else the user's data directory; empty, which is refused, where there is none.
fn default_data_dir(root: bool, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    if root {
        return PathBuf::from("/var/lib/gimp-platform");
    }
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("gimp-platform"))
        .unwrap_or_default()
}

impl Settings {
    /// The embedded database in `private_dir`.
    pub const DATABASE_FILE: &str = "gimp-platform.db";

    /// What only the server may read: database, keys, certificate.
    #[must_use]
    pub fn private_dir(&self) -> PathBuf {
        self.data_dir.join(crate::data_dir::PRIVATE)
    }

    /// Where to listen for UDP; None: nowhere.
    #[must_use]
    pub fn udp_address(&self) -> Option<SocketAddr> {
        match self.udp_listen {
            None => Some(self.listen),
            Some(UdpListen::Off) => None,
            Some(UdpListen::At(address)) => Some(address),
        }
    }

    /// The configured database or the embedded one.
    #[must_use]
    pub fn database(&self) -> Secret {
        self.database_url.clone().unwrap_or_else(|| {
            let path = self.private_dir().join(Self::DATABASE_FILE);
            let mut escaped = String::new();
            for character in path.to_string_lossy().chars() {
                match character {
                    '%' => escaped.push_str("%25"),
                    '?' => escaped.push_str("%3F"),
                    '#' => escaped.push_str("%23"),
                    other => escaped.push(other),
                }
            }
            Secret::new(format!("sqlite://{escaped}?mode=rwc"))
        })
    }

    /// Of an SQLite database that `database_url` names.
    #[must_use]
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        let url = self.database_url.as_ref()?.expose().strip_prefix("sqlite:")?;
        let path = url.strip_prefix("//").unwrap_or(url).split('?').next()?;
        let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
        (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path.as_ref()))
    }

    /// URL people reach the platform at, without a trailing slash.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| {
            let mut address = self.listen;
            match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            let scheme = if self.tls == TlsMode::Off { "http" } else { "https" };
            format!("{scheme}://{address}")
        })
    }

    /// When sessions copy unsaved images.
    #[must_use]
    pub fn copy_times(&self) -> CopyTimes {
        CopyTimes { pause_seconds: self.copy_pause_seconds, longest_seconds: self.copy_seconds }
    }

    /// What `display` means; None when it means nothing. Arguments are separated by spaces, without quoting.
    #[must_use]
    pub fn display_server(&self) -> Option<DisplayServer> {
        match self.display.as_str() {
            "xorg" => Some(DisplayServer::Xorg),
            "xvnc" => Some(DisplayServer::Xvnc),
            other => {
                let command: Vec<String> = other.split_whitespace().map(str::to_owned).collect();
                let arguments = command.get(1..).unwrap_or_default();
                let told = |what| arguments.iter().any(|argument| argument.contains(what));
                (told("{display}") && told("{rfbSocket}")).then_some(DisplayServer::Custom { command })
            }
        }
    }

    /// Whether browsers reach us over TLS, ours or a proxy's: cookies are `Secure` then.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls != TlsMode::Off || self.public_url().starts_with("https://")
    }
}

/// One thing that can be set.
#[derive(Debug)]
pub struct Key {
    /// As in the file; environment and flag names derive from it.
    pub name: &'static str,
    /// Placeholder of the value in `--help`.
    pub value: &'static str,
    pub help: &'static str,
    /// What is allowed, in words that fit behind "must be".
    pub allowed: &'static str,
}

impl Key {
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// `session-minutes`, without the dashes in front.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    #[must_use]
    pub fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.to_uppercase())
    }
}

pub const ENV_PREFIX: &str = "GIMP_PLATFORM_";

const fn key(name: &'static str, value: &'static str, help: &'static str, allowed: &'static str) -> Key {
    Key { name, value, help, allowed }
}

const FILE: &str = "the path of a file";
const SOCKET: &str = "an IP address and a port, like 127.0.0.1:8080 or [::]:8080";

/// The one table of the settings file.
const KUBERNETES: &str = "kubernetes";

/// Every setting but those of the table `[kubernetes]`, in the order of `--help`. `*_file` keys read the setting they are named after from a file.
pub const KEYS: &[Key] = &[
    key("listen", "ADDRESS:PORT", "Address of the web port", SOCKET),
    key(
        "udp_listen",
        "ADDRESS:PORT",
        "Address of the UDP port for WebRTC; by default that of listen; `off` for none",
        "off, or an IP address and a port, like 0.0.0.0:8080 or [::]:8080",
    ),
    key(
        "public_addresses",
        "ADDRESSES",
        "Where WebRTC reaches the UDP port and the web port, if a router or a proxy is in front",
        "a list of IP addresses, with a port where it is another, like 203.0.113.5 or 203.0.113.5:3478 (in a flag or a \
         variable: separated by commas)",
    ),
    key(
        "turn_urls",
        "URLS",
        "TURN servers for browsers whose network lets no UDP through",
        "a list of at most 8 URLs that begin with turn: or turns: (in a flag or a variable: separated by commas)",
    ),
    key("turn_secret", "SECRET", "Secret that the TURN servers share with this one", "text, where turn_urls is set"),
    key("turn_secret_file", "FILE", "File that holds turn_secret", FILE),
    key("metrics_listen", "ADDRESS:PORT", "Address of /metrics; `off` for none", SOCKET),
    key("data_dir", "DIR", "Where workspaces, the embedded database and secrets live", "an absolute path of a folder"),
    key(
        "database_url",
        "URL",
        "Database; SQLite in the data directory if not set",
        "a URL that begins with postgres:// or sqlite://",
    ),
    key("database_url_file", "FILE", "File that holds database_url", FILE),
    key(
        "public_url",
        "URL",
        "URL people reach the platform at; needed behind a proxy",
        "a URL that begins with https:// or http:// and has no path, like https://gimp.example.org",
    ),
    key("tls", "MODE", "off, self-signed, or files (tls_certificate and tls_key)", "one of off, self-signed, files"),
    key("tls_certificate", "FILE", "Certificate chain, PEM; read again when it changes", FILE),
    key("tls_key", "FILE", "Private key, PEM", FILE),
    key(
        "trusted_proxies",
        "NETWORKS",
        "Proxies whose X-Forwarded-For is believed",
        "a list of networks like 10.0.0.0/8 or 192.0.2.7/32 (in a flag or a variable: separated by commas)",
    ),
    key("max_connections", "NUMBER", "Open connections; more wait", "a whole number from 16 to 65535"),
    key(
        "requests_per_minute",
        "NUMBER",
        "Requests one address may make in a minute",
        "a whole number from 60 to 1000000",
    ),
    key("registration", "MODE", "Who may make an account: open, invite or closed", "one of open, invite, closed"),
    key("bcrypt_cost", "NUMBER", "Work factor of password hashes", "a whole number from 4 to 16"),
    key("access_minutes", "MINUTES", "How long an access token is valid", "a whole number from 1 to 1440"),
    key("refresh_days", "DAYS", "How long an unused sign-in stays valid", "a whole number from 1 to 365"),
    key(
        "smtp_host",
        "HOST",
        "Mail server; without one, password reset links are printed in the log",
        "a host name without a port",
    ),
    key("smtp_port", "PORT", "Port of the mail server; by default from smtp_security", "a port number from 1 to 65535"),
    key("smtp_security", "MODE", "none, starttls or tls", "one of none, starttls, tls"),
    key("smtp_user", "NAME", "User name at the mail server", "text"),
    key("smtp_password", "PASSWORD", "Password at the mail server", "text"),
    key("smtp_password_file", "FILE", "File that holds smtp_password", FILE),
    key("mail_from", "ADDRESS", "Sender of mails", "a mail address, like GIMP <gimp@example.org>"),
    key(
        "driver",
        "DRIVER",
        "How sessions run: local; kubernetes, a pod each; or fake, for trying out the pages",
        "one of local, kubernetes, fake",
    ),
    key("sessions_per_user", "NUMBER", "Running sessions one user may have", "a whole number from 1 to 16"),
    key(
        "session_limit",
        "NUMBER",
        "Sessions this machine runs at once; by default from its memory and cores",
        "a whole number from 1 to 10000",
    ),
    key("session_minutes", "MINUTES", "How long a session lives unless extended", "a whole number from 1 to 10080"),
    key(
        "session_max_minutes",
        "MINUTES",
        "How long a session lives however often it is extended",
        "a whole number from 1 to 100000",
    ),
    key(
        "idle_minutes",
        "MINUTES",
        "End a session after so long without input; 0 for never",
        "a whole number from 0 to 10080",
    ),
    key("warn_minutes", "MINUTES", "Warn the user so long before an end", "a whole number from 0 to 60"),
    key(
        "copy_pause_seconds",
        "SECONDS",
        "Copy unsaved images after so long without input, in case GIMP dies",
        "a whole number from 3 to 600",
    ),
    key(
        "copy_seconds",
        "SECONDS",
        "Copy unsaved images so long after a change when there is input all the time",
        "a whole number from copy_pause_seconds to 3600",
    ),
    key("quota_gb", "GIB", "Workspace quota of a new user", "a whole number from 1 to 10000"),
    key(
        "quota_mechanism",
        "MECHANISM",
        "What keeps workspaces within their quota; auto takes the best that works here",
        "one of auto, project-quota, image, watcher",
    ),
    key(
        "versions_kept",
        "NUMBER",
        "Versions of one file that are kept, one for each save; 0 for none",
        "a whole number from 0 to 1000",
    ),
    key(
        "versions_days",
        "DAYS",
        "How long versions of files are kept; the newest of a file stays",
        "a whole number from 1 to 3650",
    ),
    key(
        "display",
        "SERVER",
        "Display server of sessions: xorg, xvnc, or the command line of a VNC server that is its own X server",
        "xorg, xvnc, or a command with {display} and {rfbSocket} among its arguments",
    ),
    key("agent_path", "FILE", "Path of gimp-session; by default beside this program, then in PATH", FILE),
    key(
        "key_path",
        "FILE",
        "32 random bytes that sessions are reached with, the same for all servers of a database; by default made in the data \
         directory",
        FILE,
    ),
    key(
        "drain_seconds",
        "SECONDS",
        "How long to go on answering when told to end, until load balancers ask other servers",
        "a whole number from 0 to 300",
    ),
    key(
        "first_uid",
        "UID",
        "First uid for sessions when the server runs as root",
        "a whole number from 1000 to 2000000000",
    ),
    key("access_log_days", "DAYS", "How long the access log is kept", "a whole number from 1 to 3650"),
    key("audit_days", "DAYS", "How long the audit trail is kept", "a whole number from 1 to 3650"),
    key(
        "log",
        "FILTER",
        "What is logged",
        "error, warn, info, debug, trace, or a list like info,server::session=debug",
    ),
    key("log_format", "FORMAT", "text or json", "one of text, json"),
];
