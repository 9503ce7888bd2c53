//! Each source, each kind of mistake, and the example in the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::*;
use crate::driver::kubernetes::options::ALLOWED as KUBERNETES_KEYS;

/// Loads from flags, variables and the text of a file.
fn load_from(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Result<Loaded, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    std::fs::write(&path, file).unwrap();
    let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let variables = variables.iter().map(|(key, value)| (OsString::from(key), OsString::from(value)));
    load(flags, variables, Some(&path))
}

fn settings(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Settings {
    load_from(flags, variables, file).unwrap_or_else(|error| panic!("{error}")).settings
}

fn message(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> String {
    load_from(flags, variables, file).expect_err("a mistake").to_string()
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let file = "session_minutes = 1\nquota_gb = 1\nidle_minutes = 1";
    let loaded = settings(
        &[("session_minutes", "3")],
        &[("GIMP_PLATFORM_SESSION_MINUTES", "2"), ("GIMP_PLATFORM_QUOTA_GB", "2")],
        file,
    );
    assert_eq!((loaded.session_minutes, loaded.quota_gb, loaded.idle_minutes, loaded.warn_minutes), (3, 2, 1, 5));
}

#[test]
fn every_kind_of_value_can_come_as_text() {
    let loaded = settings(
        &[("trusted_proxies", "10.0.0.0/8, fd00::/8"), ("metrics_listen", "off"), ("tls", "self-signed")],
        &[
            ("GIMP_PLATFORM_LISTEN", "[::1]:9000"),
            ("GIMP_PLATFORM_SMTP_PASSWORD", "0123"),
            ("GIMP_PLATFORM_SMTP_PORT", "2525"),
            ("GIMP_PLATFORM_DRIVER", "fake"),
        ],
        "",
    );
    assert_eq!(loaded.trusted_proxies.len(), 2);
    assert_eq!(loaded.metrics_listen, None);
    assert_eq!(loaded.tls, TlsMode::SelfSigned);
    assert_eq!(loaded.listen.to_string(), "[::1]:9000");
    assert_eq!(loaded.smtp_password.unwrap().expose(), "0123");
    assert_eq!(loaded.smtp_port, Some(2525));
    assert_eq!(loaded.driver, DriverKind::Fake);
}

#[test]
fn the_udp_port_is_that_of_the_web_unless_told_otherwise() {
    let listen = |flags: &[(&str, &str)]| settings(flags, &[], "listen = \"192.0.2.1:80\"").udp_address();
    assert_eq!(listen(&[]), Some("192.0.2.1:80".parse().unwrap()));
    assert_eq!(listen(&[("udp_listen", "off")]), None);
    assert_eq!(listen(&[("udp_listen", "0.0.0.0:3478")]), Some("0.0.0.0:3478".parse().unwrap()));
    let loaded = settings(&[], &[("GIMP_PLATFORM_PUBLIC_ADDRESSES", "203.0.113.5, [2001:db8::1]:443")], "");
    assert_eq!(loaded.public_addresses[1].port, Some(443));
    assert_eq!(settings(&[], &[], "public_addresses = [\"203.0.113.5\"]").public_addresses.len(), 1);
}

#[test]
fn turn_servers_need_their_secret() {
    let urls = ("turn_urls", "turn:turn.example.org,turns:turn.example.org:443?transport=tcp");
    let text = message(&[urls], &[], "");
    assert!(text.contains("`turn_secret`") && text.contains("text, where turn_urls is set"), "{text}");
    assert!(load_from(&[urls, ("turn_secret", "")], &[], "").is_err());
    let loaded = settings(&[urls], &[], "turn_secret = \"north\"");
    assert_eq!((loaded.turn_urls.len(), loaded.turn_secret.unwrap().expose()), (2, "north"));
}

#[test]
fn a_mistake_names_key_value_source_and_what_is_allowed() {
    assert_eq!(
        message(&[], &[("GIMP_PLATFORM_SESSION_MINUTES", "soon")], ""),
        "The setting `session_minutes` = \"soon\" in the environment is not usable: it must be a whole number from 1 to \
         10080."
    );
    assert_eq!(
        message(&[("listen", "8080")], &[], ""),
        "The setting `listen` = \"8080\" in the command line is not usable: it must be an IP address and a port, like \
         127.0.0.1:8080 or [::]:8080."
    );
    let text = message(&[], &[], "driver = \"docker\"");
    assert!(text.contains("`driver` = \"docker\" in ") && text.contains("settings.toml is not usable"), "{text}");
    assert!(text.ends_with("it must be one of local, kubernetes, fake."), "{text}");
}

#[test]
fn the_table_of_kubernetes_says_as_precisely_what_is_wrong() {
    let loaded = settings(&[], &[], "driver = \"kubernetes\"\n[kubernetes]\nimage = \"gimp-session:1\"");
    assert_eq!((loaded.driver, loaded.kubernetes.namespace.as_str()), (DriverKind::Kubernetes, "gimp-sessions"));
    let text = message(&[("driver", "kubernetes")], &[], "");
    assert!(
        text.starts_with("The setting `kubernetes.image` = \"\" in ") && text.ends_with("where driver is kubernetes."),
        "{text}"
    );
    for (file, key, value) in [
        ("namespace = \"Not here\"", "`kubernetes.namespace` = \"Not here\"", "the name of a namespace"),
        ("image = 1", "`kubernetes.image` = 1", "the name of an image"),
        ("tolerations = [{ keys = \"gimp\" }]", "`kubernetes.tolerations` = ", "a list of tolerations"),
    ] {
        let text = message(&[], &[], &format!("[kubernetes]\n{file}"));
        assert!(text.contains(key) && text.contains("settings.toml") && text.contains(value), "{text}");
    }
    let text = message(&[], &[], "[kubernetes]\nnamespaces = \"x\"");
    assert!(text.contains("no setting `kubernetes.namespaces`"), "{text}");
    assert!(text.contains("Did you mean `kubernetes.namespace`?"), "{text}");
    assert!(message(&[], &[], "kubernetes = 1").contains("`kubernetes` = 1"));
}

#[test]
fn values_outside_their_range_are_mistakes() {
    for (key, value) in [
        ("data_dir", "relative"),
        ("database_url", "mysql://x"),
        ("public_url", "gimp.example.org"),
        ("public_url", "https://gimp.example.org/"),
        ("public_url", "https://me@gimp.example.org"),
        ("public_url", "https://gimp.example.org?x"),
        ("trusted_proxies", "10.0.0.0/33"),
        ("udp_listen", "on"),
        ("udp_listen", "8080"),
        ("public_addresses", "gimp.example.org"),
        ("public_addresses", "203.0.113.5,0.0.0.0"),
        ("turn_urls", "stun:turn.example.org"),
        ("turn_urls", "turn:"),
        ("turn_urls", "turn:a b"),
        ("max_connections", "15"),
        ("requests_per_minute", "59"),
        ("registration", "secret"),
        ("bcrypt_cost", "17"),
        ("access_minutes", "0"),
        ("refresh_days", "366"),
        ("smtp_host", "mail.example.org:25"),
        ("smtp_port", "0"),
        ("smtp_security", "ssl"),
        ("mail_from", "nobody"),
        ("sessions_per_user", "0"),
        ("session_limit", "10001"),
        ("session_minutes", "-5"),
        ("idle_minutes", "10081"),
        ("warn_minutes", "61"),
        ("copy_pause_seconds", "2"),
        ("copy_seconds", "9"),
        ("copy_seconds", "3601"),
        ("quota_gb", "0"),
        ("versions_kept", "1001"),
        ("versions_days", "0"),
        ("display", "Xorg"),
        ("display", ""),
        ("display", "Xvnc {display} -rfbport 5900"),
        ("display", "Xvnc -rfbunixpath {rfbSocket}"),
        ("display", "{display} {rfbSocket}"),
        ("first_uid", "999"),
        ("access_log_days", "0"),
        ("audit_days", "3651"),
        ("log", "server=loud"),
        ("log_format", "xml"),
    ] {
        let text = message(&[(key, value)], &[], "");
        assert!(text.contains(&format!("`{key}`")), "{key} = {value}: {text}");
        assert!(text.contains(Key::find(key).unwrap().allowed), "{key} = {value}: {text}");
    }
}

#[test]
fn the_display_server_is_named_or_given_by_its_command_line() {
    let display = |value: &str| settings(&[("display", value)], &[], "").display_server();
    assert_eq!(settings(&[], &[], "").display_server(), Some(DisplayServer::Xorg));
    assert_eq!(display("xorg"), Some(DisplayServer::Xorg));
    assert_eq!(display("xvnc"), Some(DisplayServer::Xvnc));
    let command = ["Xkasm", "{display}", "-socket={rfbSocket}"].map(str::to_owned).to_vec();
    assert_eq!(display(" Xkasm  {display} -socket={rfbSocket}"), Some(DisplayServer::Custom { command }));
    assert_eq!(
        message(&[], &[("GIMP_PLATFORM_DISPLAY", "kasm")], ""),
        "The setting `display` = \"kasm\" in the environment is not usable: it must be xorg, xvnc, or a command with \
         {display} and {rfbSocket} among its arguments."
    );
}

/// What the administrators' guide shows can be set as it stands.
#[test]
fn the_documented_command_line_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/admins.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let line = guide.lines().find(|line| line.starts_with("display = \"Xvnc ")).unwrap();
    let Some(DisplayServer::Custom { command }) = settings(&[], &[], line).display_server() else { panic!("{line}") };
    for filled_in in ["{display}", "{width}x{height}", "{rfbSocket}", "{xauthority}"] {
        assert!(command.iter().any(|word| word == filled_in), "{filled_in}");
    }
}

/// What the chart writes for each of its sets of values is understood, structured settings included.
#[test]
fn the_charts_settings_are_right() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/rendered");
    let secrets = tempfile::tempdir().unwrap();
    for (name, content) in [("database/url", "postgres://db/gimp"), ("secrets/smtp_password", "secret")] {
        let path = secrets.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let of = |values: &str| {
        let text = std::fs::read_to_string(chart.join(values)).unwrap();
        let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        let map = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        let file = map["data"]["gimp-platform.toml"].as_str().unwrap();
        settings(&[], &[], &file.replace("/etc/gimp-platform", secrets.path().to_str().unwrap()))
    };
    let trial = of("trial.yaml");
    assert_eq!((trial.driver, trial.kubernetes.namespace.as_str()), (DriverKind::Kubernetes, "gimp-sessions"));
    assert_eq!((trial.udp_address(), trial.public_url().as_str()), (None, "http://localhost:8080"));
    assert_eq!(trial.kubernetes.image, format!("registry.example.org/gimp-session:{}", env!("CARGO_PKG_VERSION")));
    let ingress = of("ingress.yaml");
    assert_eq!((ingress.session_minutes, ingress.trusted_proxies.len()), (240, 1));
    assert!(ingress.database_url.is_some() && ingress.is_secure());
    let large = of("large.yaml");
    assert_eq!(large.tls, TlsMode::Files);
    assert_eq!(large.kubernetes.tolerations[0].toleration_seconds, Some(300));
    let affinity = large.kubernetes.affinity.unwrap().node_affinity.unwrap();
    let required = affinity.required_during_scheduling_ignored_during_execution.unwrap();
    assert_eq!(required.node_selector_terms[0].match_expressions.as_ref().unwrap()[0].operator, "Gt");
    assert_eq!(large.kubernetes.runtime_class.as_deref(), Some("gvisor"));
}

#[test]
fn settings_that_need_each_other_are_asked_for() {
    assert!(message(&[("tls", "files")], &[], "").contains("`tls_certificate`"));
    assert!(message(&[("tls", "files"), ("tls_certificate", "/c.pem")], &[], "").contains("`tls_key`"));
    assert!(message(&[("smtp_host", "mail.example.org")], &[], "").contains("`mail_from`"));
}

#[test]
fn unknown_keys_in_the_file_are_mistakes() {
    let text = message(&[], &[], "sesion_minutes = 5");
    assert!(text.starts_with("There is no setting `sesion_minutes` (in "), "{text}");
    assert!(text.ends_with("Did you mean `session_minutes`?"), "{text}");
    assert!(message(&[], &[], "colour = 5").ends_with("settings.toml)."));
}

#[test]
fn unknown_variables_are_told_but_no_mistake() {
    let loaded = load_from(
        &[],
        &[("GIMP_PLATFORM_PORT", "tcp://10.0.0.1:80"), ("GIMP_PLATFORM_CONFIG", "/x"), ("HOME", "/root")],
        "",
    );
    assert_eq!(loaded.unwrap().ignored_variables, ["GIMP_PLATFORM_PORT"]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    assert!(message(&[], &[], "listen = ").contains("settings.toml can't be read"));
    let missing = load(BTreeMap::new(), std::iter::empty(), Some(Path::new("/nonexistent.toml")));
    assert!(missing.unwrap_err().to_string().contains("/nonexistent.toml can't be read"));
}

#[test]
fn secrets_are_never_shown() {
    let loaded = settings(&[], &[], "database_url = \"postgres://me:hunter2@db/x\"\nsmtp_password = \"hunter2\"");
    assert_eq!(loaded.database().expose(), "postgres://me:hunter2@db/x");
    let shown = format!("{loaded:?}{}", toml::to_string(&loaded).unwrap());
    assert!(shown.contains("(secret)") && !shown.contains("hunter2"), "{shown}");
    let text = message(&[("database_url", "hunter2")], &[], "");
    assert!(text.contains("`database_url`") && !text.contains("hunter2"), "{text}");
    let text = message(&[], &[], "smtp_password = [\"hunter2\"]");
    assert!(text.contains("`smtp_password`") && !text.contains("hunter2"), "{text}");
}

#[test]
fn secrets_can_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let file = format!("smtp_password_file = \"{path}\"");
    assert_eq!(settings(&[], &[], &file).smtp_password.unwrap().expose(), "hunter2");
    let stronger = settings(&[("smtp_password", "other")], &[], &file);
    assert_eq!(stronger.smtp_password.unwrap().expose(), "other");
    let stronger = settings(&[("smtp_password_file", path)], &[], "smtp_password = \"weak\"");
    assert_eq!(stronger.smtp_password.unwrap().expose(), "hunter2");

    let text = message(&[("smtp_password_file", "/nonexistent")], &[], "");
    assert!(text.contains("/nonexistent named by `smtp_password_file` can't be read"), "{text}");
    let text = message(&[("smtp_password_file", path), ("smtp_password", "x")], &[], "");
    assert!(text.contains("`smtp_password_file`") && text.contains("left out where `smtp_password` is set"), "{text}");
}

#[test]
fn the_embedded_database_lives_in_the_data_directory() {
    let settings = Settings { data_dir: PathBuf::from("/srv/100% mine?#"), ..Settings::default() };
    assert_eq!(settings.database().expose(), "sqlite:///srv/100%25 mine%3F%23/private/gimp-platform.db?mode=rwc");
}

#[test]
fn the_public_url_is_derived_where_it_is_not_set() {
    let url = |listen: &str, tls| Settings { listen: listen.parse().unwrap(), tls, ..Settings::default() }.public_url();
    assert_eq!(url("0.0.0.0:8080", TlsMode::Off), "http://127.0.0.1:8080");
    assert_eq!(url("[::]:8443", TlsMode::SelfSigned), "https://[::1]:8443");
    assert_eq!(url("192.0.2.7:80", TlsMode::Off), "http://192.0.2.7:80");
    let behind = Settings { public_url: Some("https://gimp.example.org".into()), ..Settings::default() };
    assert!(behind.is_secure());
    assert_eq!(behind.public_url(), "https://gimp.example.org");
    let own = Settings { public_url: Some("http://gimp.example.org".into()), tls: TlsMode::Files, ..behind };
    assert!(own.is_secure());
}

#[test]
fn data_is_kept_where_the_user_keeps_data() {
    let of = |root, variables: &[(&str, &str)]| {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        default_data_dir(root, find).to_str().unwrap().to_owned()
    };
    assert_eq!(of(true, &[("HOME", "/root")]), "/var/lib/gimp-platform");
    assert_eq!(of(false, &[("HOME", "/home/ada")]), "/home/ada/.local/share/gimp-platform");
    assert_eq!(of(false, &[("HOME", "/home/ada"), ("XDG_DATA_HOME", "/data")]), "/data/gimp-platform");
    assert_eq!(of(false, &[("HOME", "/home/ada"), ("XDG_DATA_HOME", "data")]), "/home/ada/.local/share/gimp-platform");
    assert_eq!(of(false, &[]), "");
}

/// Keys of `Settings` as they are serialised, unset ones included.
fn fields() -> BTreeSet<String> {
    let value = figment::value::Value::serialize(Settings::default()).unwrap();
    value.into_dict().unwrap().into_keys().collect()
}

#[test]
fn keys_and_fields_are_the_same() {
    let keys: BTreeSet<String> =
        KEYS.iter().map(|key| key.name.to_owned()).filter(|name| !name.ends_with("_file")).collect();
    let mut fields = fields();
    assert!(fields.remove(KUBERNETES));
    assert_eq!(keys, fields);
    for key in KEYS.iter().filter(|key| key.name.ends_with("_file")) {
        assert!(fields.contains(key.name.trim_end_matches("_file")), "{}", key.name);
    }
}

/// The example shows every setting, commented out with its default where it has one.
#[test]
fn the_documented_example_is_whole_and_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gimp-platform.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    // A setting is "#key = value"; prose is "# text".
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let example: toml::Table = toml::from_str(&uncommented).unwrap_or_else(|error| panic!("{error}"));
    let documented: BTreeSet<&str> = example.keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = KEYS.iter().map(|key| key.name).chain([KUBERNETES]).collect();
    assert_eq!(documented, expected);
    let documented: BTreeSet<String> =
        example[KUBERNETES].as_table().unwrap().keys().map(|name| format!("{KUBERNETES}.{name}")).collect();
    let expected: BTreeSet<String> = KUBERNETES_KEYS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(documented, expected);

    // As it stands it changes nothing.
    assert_eq!(toml::from_str::<toml::Table>(&text).unwrap(), toml::Table::new());

    let defaults = toml::Table::try_from(Settings::default()).unwrap();
    for (key, default) in &defaults {
        if key != "data_dir" && key != KUBERNETES {
            assert_eq!(&example[key], default, "{key}");
        }
    }
    // With everything set it is allowed, except that a secret is given once.
    let whole: String =
        uncommented.lines().filter(|line| !line.contains("_file =")).map(|line| format!("{line}\n")).collect();
    settings(&[], &[], &whole);
}
