//! How GIMP is started.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Largest log of a program before it is emptied, bytes.
pub const MAX_LOG: u64 = 4 << 20;

/// `LANG` of every session: the one locale that every machine has.
pub const LOCALE: &str = "C.UTF-8";

/// What a program of the session sees of the world.
#[derive(Debug, Clone)]
pub struct Environment {
    variables: Vec<(String, String)>,
}

impl Environment {
    pub fn new(home: &Path, run: &Path) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let fixed = [
            ("HOME", text(home)),
            ("XDG_CONFIG_HOME", text(&home.join(".config"))),
            ("XDG_CACHE_HOME", text(&home.join(".cache"))),
            ("XDG_DATA_HOME", text(&home.join(".local/share"))),
            ("XDG_RUNTIME_DIR", text(&run.join("xdg"))),
            ("LANG", LOCALE.to_owned()),
            ("PATH", std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into())),
            ("TMPDIR", "/tmp".into()),
            // Nothing of a desktop is there: no accessibility bus, no remote files, no portals.
            ("NO_AT_BRIDGE", "1".into()),
            ("GIO_USE_VFS", "local".into()),
            ("GIO_USE_VOLUME_MONITOR", "unix".into()),
            ("GTK_USE_PORTAL", "0".into()),
            ("GSETTINGS_BACKEND", "keyfile".into()),
            // Keys arrive composed from the browser.
            ("GTK_IM_MODULE", "gtk-im-context-simple".into()),
        ];
        Self { variables: fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    pub fn set(&mut self, name: &str, value: String) {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value));
    }

    /// Gives a program this environment and a log of its own.
    pub fn apply(&self, command: &mut Command, log: &Path) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        log.set_len(0)?;
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone()?).stderr(Stdio::from(log));
        Ok(())
    }
}

/// GIMP with the session's preset; it opens no splash.
pub fn command(preset: &Path) -> Command {
    let mut command = Command::new("gimp");
    command.arg("--no-splash").arg("--system-gimprc").arg(preset);
    command
}

/// Empties logs that have grown too large. They are opened for appending, so their writers go on at the start.
pub fn bound_logs(run: &Path) {
    for name in ["display.log", "window-manager.log", "bus.log", "gimp.log"] {
        let path = run.join(name);
        if std::fs::metadata(&path).is_ok_and(|data| data.len() > MAX_LOG)
            && let Ok(log) = OpenOptions::new().write(true).open(&path)
            && let Err(error) = log.set_len(0)
        {
            tracing::warn!(%error, "a log cannot be emptied");
        }
    }
}
