//! Puts the sources together and says precisely which value of which source is wrong.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use protocol::agent::CopyTimes;

use super::{DriverKind, ENV_PREFIX, KEYS, KUBERNETES, Key, Secret, Settings, TlsMode};
use crate::driver::kubernetes::options::ALLOWED as KUBERNETES_KEYS;

/// Read when no `--config` is given and it exists.
pub const DEFAULT_FILE: &str = "/etc/gimp-platform.toml";

/// Settings that hold secrets: their values are not repeated in messages, and `<name>_file` may name a file instead.
const SECRETS: &[&str] = &["database_url", "smtp_password", "turn_secret"];

/// Settings that are lists: in a flag or a variable their parts are separated by commas.
const LISTS: &[&str] = &["trusted_proxies", "public_addresses", "turn_urls"];

#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// `GIMP_PLATFORM_*` variables that mean nothing here. Not an error: Kubernetes sets some for every service.
    pub ignored_variables: Vec<String>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    #[error("The setting `{key}`{} in {origin} is not usable: it must be {allowed}.", shown(.value))]
    Bad {
        key: String,
        /// None where it is a secret or unknown.
        value: Option<String>,
        origin: String,
        allowed: String,
    },
    #[error("There is no setting `{key}` (in {origin}).{}", meant(.nearest))]
    Unknown { key: String, origin: String, nearest: Option<&'static str> },
    #[error("The settings file {} can't be read: {why}", .path.display())]
    File { path: PathBuf, why: String },
    #[error("The file {} named by `{key}` can't be read: {why}", .path.display())]
    SecretFile { key: String, path: PathBuf, why: String },
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default()
}

fn meant(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!(" Did you mean `{name}`?")).unwrap_or_default()
}

/// Reads all sources. `flags` holds what was given on the command line, by key name.
///
/// # Errors
/// Names the first setting that is wrong, its source and what is allowed.
pub fn load(
    flags: BTreeMap<String, String>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    file: Option<&Path>,
) -> Result<Loaded, SettingsError> {
    let mut ignored_variables = vec![];
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
        match Key::find(&rest.to_lowercase()) {
            Some(key) => drop(variables.insert(key.name.to_owned(), value.to_owned())),
            None if rest == "CONFIG" => {}
            None => ignored_variables.push(name.to_owned()),
        }
    }

    let mut layers = vec![];
    let file = file.map(Path::to_owned).or_else(|| {
        let default = PathBuf::from(DEFAULT_FILE);
        default.exists().then_some(default)
    });
    if let Some(path) = file {
        layers.push(Layer { name: path.display().to_string(), values: read(path)? });
    }
    layers.push(Layer { name: "the environment".to_owned(), values: from_text(variables) });
    layers.push(Layer { name: "the command line".to_owned(), values: from_text(flags) });

    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    for mut layer in layers {
        layer.read_secret_files()?;
        layer.switch_off();
        figment = figment.merge(layer);
    }
    // Lossy: numbers of flags and variables are text; text is never read as a number where text is wanted.
    let settings: Settings = figment.extract_lossy().map_err(|error| bad(&figment, &error))?;
    check(&settings, &figment)?;
    Ok(Loaded { settings, ignored_variables })
}

/// One source of settings under a name that people understand.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layer {
    /// Replaces each `<secret>_file` by the secret it names.
    fn read_secret_files(&mut self) -> Result<(), SettingsError> {
        for secret in SECRETS {
            let key = format!("{secret}_file");
            let Some(value) = self.values.remove(&key) else { continue };
            if self.values.contains_key(*secret) {
                return Err(SettingsError::Bad {
                    allowed: format!("left out where `{secret}` is set"),
                    key,
                    value: Some(display(&value)),
                    origin: self.name.clone(),
                });
            }
            let path = PathBuf::from(value.as_str().unwrap_or_default());
            let content = std::fs::read_to_string(&path).map_err(|error| SettingsError::SecretFile {
                key,
                path,
                why: error.to_string(),
            })?;
            self.values.insert((*secret).to_owned(), content.trim_end_matches(['\r', '\n']).into());
        }
        Ok(())
    }

    /// `off` stands for "none" where none is not the default.
    fn switch_off(&mut self) {
        if let Some(value) = self.values.get_mut("metrics_listen")
            && value.as_str() == Some("off")
        {
            *value = Value::Empty(Tag::Default, Empty::None);
        }
    }
}

fn read(path: PathBuf) -> Result<Dict, SettingsError> {
    let table: Result<toml::Table, String> = std::fs::read_to_string(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| toml::from_str(&text).map_err(|error| error.to_string()));
    let table = match table {
        Ok(table) => table,
        Err(why) => return Err(SettingsError::File { path, why }),
    };
    let in_table = table.get(KUBERNETES).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
    let names = table.keys().cloned().chain(in_table.map(|name| format!("{KUBERNETES}.{name}")));
    if let Some(name) = names.into_iter().find(|name| name != KUBERNETES && allowed(name).is_none()) {
        let nearest = nearest(&name);
        return Err(SettingsError::Unknown { key: name, origin: path.display().to_string(), nearest });
    }
    let value = Value::serialize(&table).map_err(|error| SettingsError::File { path, why: error.to_string() })?;
    Ok(value.into_dict().unwrap_or_default())
}

fn from_text(texts: BTreeMap<String, String>) -> Dict {
    let list = |text: &str| text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect();
    texts
        .into_iter()
        .map(|(key, text)| {
            let is_list = LISTS.contains(&key.as_str());
            let value = if is_list { Value::Array(Tag::Default, list(&text)) } else { Value::from(text) };
            (key, value)
        })
        .collect()
}

fn origin(figment: &Figment, key: &str) -> String {
    figment.find_metadata(key).map_or_else(|| "the defaults".to_owned(), |metadata| metadata.name.to_string())
}

fn bad(figment: &Figment, error: &figment::Error) -> SettingsError {
    let key = match (&error.kind, error.path.first()) {
        (_, Some(table)) if table == KUBERNETES => {
            error.path.get(1).map_or_else(|| KUBERNETES.to_owned(), |name| format!("{KUBERNETES}.{name}"))
        }
        (_, Some(first)) => first.clone(),
        (Kind::UnknownField(name, _), None) => name.clone(),
        (Kind::MissingField(name), None) => name.to_string(),
        (_, None) => "?".to_owned(),
    };
    not_allowed(figment, &key)
}

fn not_allowed(figment: &Figment, key: &str) -> SettingsError {
    let value = figment.find_value(key).ok().filter(|_| !SECRETS.contains(&key)).map(|value| display(&value));
    SettingsError::Bad {
        key: key.to_owned(),
        value,
        origin: origin(figment, key),
        allowed: allowed(key).unwrap_or("a value of another kind").to_owned(),
    }
}

/// What a setting may be, those of the table by their whole name.
fn allowed(name: &str) -> Option<&'static str> {
    match Key::find(name) {
        Some(key) => Some(key.allowed),
        None if name == KUBERNETES => Some("a table"),
        None => KUBERNETES_KEYS.iter().find(|(key, _)| *key == name).map(|(_, allowed)| *allowed),
    }
}

fn display(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What types can't say.
fn check(settings: &Settings, figment: &Figment) -> Result<(), SettingsError> {
    let s = settings;
    let url = |text: &str| {
        text.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.path() == "/"
                && uri.query().is_none()
                && !text.ends_with('/')
        })
    };
    let database = |text: &Secret| {
        ["postgres://", "postgresql://", "sqlite:"].iter().any(|scheme| text.expose().starts_with(scheme))
    };
    let files = s.tls == TlsMode::Files;
    // RFC 7065.
    let turn = |url: &String| {
        let host = url.strip_prefix("turn:").or_else(|| url.strip_prefix("turns:"));
        host.is_some_and(|host| !host.is_empty() && url.len() <= 256 && url.bytes().all(|byte| byte.is_ascii_graphic()))
    };
    let rules: &[(&str, bool)] = &[
        ("data_dir", s.data_dir.is_absolute()),
        ("database_url", s.database_url.as_ref().is_none_or(database)),
        ("public_url", s.public_url.as_deref().is_none_or(url)),
        ("tls_certificate", !files || s.tls_certificate.is_some()),
        ("tls_key", !files || s.tls_key.is_some()),
        ("public_addresses", s.public_addresses.len() <= 8),
        ("turn_urls", s.turn_urls.len() <= 8 && s.turn_urls.iter().all(turn)),
        (
            "turn_secret",
            s.turn_urls.is_empty() || s.turn_secret.as_ref().is_some_and(|secret| !secret.expose().is_empty()),
        ),
        ("max_connections", (16..=65_535).contains(&s.max_connections)),
        ("requests_per_minute", (60..=1_000_000).contains(&s.requests_per_minute)),
        ("bcrypt_cost", (4..=16).contains(&s.bcrypt_cost)),
        ("access_minutes", (1..=1440).contains(&s.access_minutes)),
        ("refresh_days", (1..=365).contains(&s.refresh_days)),
        ("smtp_host", s.smtp_host.as_deref().is_none_or(|host| !host.is_empty() && !host.contains([':', '/', ' ']))),
        ("smtp_port", s.smtp_port != Some(0)),
        (
            "mail_from",
            s.mail_from.as_deref().is_none_or(|from| from.parse::<lettre::message::Mailbox>().is_ok())
                && (s.smtp_host.is_none() || s.mail_from.is_some()),
        ),
        ("sessions_per_user", (1..=16).contains(&s.sessions_per_user)),
        ("session_limit", s.session_limit.is_none_or(|limit| (1..=10_000).contains(&limit))),
        ("session_minutes", (1..=10_080).contains(&s.session_minutes)),
        ("session_max_minutes", (1..=100_000).contains(&s.session_max_minutes)),
        ("idle_minutes", s.idle_minutes <= 10_080),
        ("warn_minutes", s.warn_minutes <= 60),
        ("copy_pause_seconds", CopyTimes::PAUSE_SECONDS.contains(&s.copy_pause_seconds)),
        ("copy_seconds", s.copy_times().are_allowed()),
        ("quota_gb", (1..=10_000).contains(&s.quota_gb)),
        ("versions_kept", s.versions_kept <= 1000),
        ("versions_days", (1..=3650).contains(&s.versions_days)),
        ("display", s.display_server().is_some()),
        ("drain_seconds", s.drain_seconds <= 300),
        ("first_uid", (1000..=2_000_000_000).contains(&s.first_uid)),
        ("access_log_days", (1..=3650).contains(&s.access_log_days)),
        ("audit_days", (1..=3650).contains(&s.audit_days)),
        ("log", tracing_subscriber::EnvFilter::try_new(&s.log).is_ok()),
    ];
    let wrong = rules.iter().find(|(_, holds)| !holds).map(|(key, _)| *key);
    match wrong.or_else(|| s.kubernetes.wrong(s.driver == DriverKind::Kubernetes)) {
        Some(key) => Err(not_allowed(figment, key)),
        None => Ok(()),
    }
}

/// The known key with the fewest edits, if it is near enough to be meant.
fn nearest(name: &str) -> Option<&'static str> {
    let names = KEYS.iter().map(|key| key.name).chain(KUBERNETES_KEYS.iter().map(|(key, _)| *key));
    let candidate = names.min_by_key(|key| distance(key, name))?;
    (distance(candidate, name) <= 3).then_some(candidate)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
