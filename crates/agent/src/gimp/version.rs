//! Which GIMP is installed.

use std::fmt;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// e.g. 2.10.34
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

impl Version {
    /// Name of the profile folder: "2.10", "3.0".
    pub fn series(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    pub fn is_3(self) -> bool {
        self.major >= 3
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Takes the last word that looks like a version, as in "GNU Image Manipulation Program version 2.10.34".
    fn from_str(text: &str) -> Result<Self, ()> {
        let parse = |word: &str| {
            let digits = word.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
            let mut numbers = digits.split('.').map(str::parse);
            let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            let micro = numbers.next().and_then(Result::ok).unwrap_or(0);
            Some(Self { major, minor, micro })
        };
        text.split_whitespace().rev().find_map(parse).ok_or(())
    }
}

/// Runs `gimp --version`. Blocks for a tenth of a second. The exit status is left to whoever reaps children.
pub fn installed() -> io::Result<Version> {
    let mut child = Command::new("gimp")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .env("LC_ALL", super::process::LOCALE)
        .spawn()?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(4096).read_to_string(&mut text)?;
    }
    text.parse().map_err(|()| io::Error::other("gimp --version named no version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_gimp_prints() {
        let parse = |text: &str| text.parse::<Version>().map(|version| version.to_string());
        assert_eq!(parse("GNU Image Manipulation Program version 2.10.34\n"), Ok("2.10.34".into()));
        assert_eq!(parse("GNU Image Manipulation Program version 3.0.4"), Ok("3.0.4".into()));
        assert_eq!(parse("GNU Image Manipulation Program version 3.0.0-RC1"), Ok("3.0.0".into()));
        assert_eq!(parse("nothing here"), Err(()));
        assert_eq!("2.10.34".parse::<Version>().map(Version::series), Ok("2.10".into()));
    }
}
