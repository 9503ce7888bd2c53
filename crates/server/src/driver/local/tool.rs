//! Runs one of the system's administration programs to its end.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// These programs are in `sbin`, which a service's PATH may lack.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub struct Tool {
    name: &'static str,
    args: Vec<OsString>,
}

impl Tool {
    pub const fn new(name: &'static str) -> Self {
        Self { name, args: vec![] }
    }

    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// # Errors
    /// When the program is missing or ends with a failure; its own words are in the error.
    pub fn run(self) -> anyhow::Result<()> {
        let name = self.name;
        match self.status()? {
            (0, _) => Ok(()),
            (code, said) => bail!("{name} ended with {code}: {said}"),
        }
    }

    /// Exit code (-1: killed) and what it said.
    pub fn status(self) -> anyhow::Result<(i32, String)> {
        let output = Command::new(self.name)
            .args(&self.args)
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{} can't be run", self.name))?;
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        Ok((output.status.code().unwrap_or(-1), said.trim().to_owned()))
    }
}
