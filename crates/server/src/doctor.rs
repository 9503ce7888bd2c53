//! Looks at a machine as the server would find it, and says what is missing and how to get it. Changes nothing but the
//! data directory's rights, which the server's start sets as well.

mod programs;

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use serde::Serialize;

use crate::config::{Settings, TlsMode};
use crate::driver::Driver;
use crate::serve::tls;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    Ok,
    /// The platform works without it, less well or less protected.
    Off,
    /// The server or its sessions can't start.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub state: State,
    /// What was found, or what is wrong.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state, detail: detail.into(), fix: None }
    }

    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, State::Ok, detail)
    }

    fn off(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, State::Off, detail)
    }

    fn failed(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, State::Failed, detail)
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether the platform can start here.
    pub usable: bool,
    pub checks: Vec<Check>,
}

/// Looks at everything.
pub async fn examine(settings: &Settings) -> Report {
    let mut checks = vec![data_directory(settings), database(settings).await];
    checks.extend(addresses(settings));
    checks.push(udp(settings));
    checks.push(encryption(settings));
    checks.push(mail(settings));
    checks.extend(machine(settings).await);
    Report { usable: checks.iter().all(|check| check.state != State::Failed), checks }
}

impl Report {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
        let mut text = String::new();
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "on    ",
                State::Off => "off   ",
                State::Failed => "FAILED",
            };
            let _ = writeln!(text, "{state}  {:width$}  {}", check.name, check.detail);
            if let Some(fix) = &check.fix {
                let _ = writeln!(text, "        {:width$}  -> {fix}", "");
            }
        }
        let off = self.checks.iter().filter(|check| check.state == State::Off).count();
        text.push_str(match (self.usable, off) {
            (false, _) => "\nThe platform can't start here until what FAILED is mended.\n",
            (true, 0) => "\nEverything is in place.\n",
            (true, _) => "\nThe platform works here; what is off makes it better.\n",
        });
        text
    }
}

fn data_directory(settings: &Settings) -> Check {
    let name = "data directory";
    match crate::data_dir::prepare(&settings.data_dir) {
        Ok(()) => Check::ok(name, settings.data_dir.display().to_string()),
        Err(error) => Check::failed(name, format!("{error:#}")),
    }
}

async fn database(settings: &Settings) -> Check {
    let name = "database";
    match crate::db::examine(settings).await {
        Ok(found) => Check::ok(name, found),
        // The message of a driver can hold the URL's host, never its password.
        Err(error) => Check::failed(name, error.to_string())
            .fix("see that the database runs and that database_url is right, or leave database_url out to use SQLite"),
    }
}

fn addresses(settings: &Settings) -> impl Iterator<Item = Check> {
    let ours = crate::data_dir::lock(settings).is_err();
    let address = move |name: &str, key: &str, address: SocketAddr| match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && ours => {
            Check::ok(name, format!("{address} is in use; a server runs on this data directory"))
        }
        Err(error) => Check::failed(name, format!("{address}: {error}"))
            .fix(format!("choose another address with {key}, or end what listens there")),
    };
    let metrics = settings.metrics_listen.map(|at| address("metrics port", "metrics_listen", at));
    [address("web port", "listen", settings.listen)].into_iter().chain(metrics)
}

fn udp(settings: &Settings) -> Check {
    let name = "UDP port";
    let Some(address) = settings.udp_address() else {
        return Check::off(name, "switched off; WebRTC goes by TCP only");
    };
    match UdpSocket::bind(address) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && crate::data_dir::lock(settings).is_err() => {
            Check::ok(name, format!("{address} is in use; a server runs on this data directory"))
        }
        Err(error) => Check::off(name, format!("{address}: {error}; WebRTC goes by TCP only"))
            .fix("choose another address with udp_listen, or end what listens there"),
        Ok(_)
            if address.ip().is_loopback() && settings.public_url.is_some() && settings.public_addresses.is_empty() =>
        {
            Check::off(name, format!("{address} is reached from this machine only; others have no WebRTC by UDP"))
                .fix("set udp_listen = \"0.0.0.0:8080\" or like it, and let that port through the firewall")
        }
        Ok(_) => Check::ok(name, format!("{address} is free")),
    }
}

fn encryption(settings: &Settings) -> Check {
    let name = "encryption";
    match settings.tls {
        TlsMode::SelfSigned => Check::ok(name, "TLS with a certificate of its own; browsers warn of it"),
        TlsMode::Files => {
            match tls::certificate(settings).and_then(|found| found.map(|own| own.config()).transpose()) {
                Ok(_) => Check::ok(name, "TLS with your certificate"),
                Err(error) => Check::failed(name, format!("{error:#}")),
            }
        }
        TlsMode::Off if settings.is_secure() => Check::ok(name, "by the proxy in front, as public_url says"),
        TlsMode::Off if settings.listen.ip().is_loopback() => Check::ok(name, "not needed: only this machine gets in"),
        TlsMode::Off => Check::off(name, "others can reach the web port, and passwords can be read on the way")
            .fix("set tls, or put a proxy with TLS in front and set public_url"),
    }
}

fn mail(settings: &Settings) -> Check {
    match &settings.smtp_host {
        Some(host) => Check::ok("mail", format!("through {host}")),
        None => Check::off("mail", "password reset links are printed in the log").fix("set smtp_host and mail_from"),
    }
}

/// What sessions need: programs, and the driver's protections.
async fn machine(settings: &Settings) -> Vec<Check> {
    let driver = match Driver::new(settings) {
        Ok(driver) => driver,
        Err(error) => return vec![Check::failed("driver", format!("{error:#}"))],
    };
    let mut checks = match &driver {
        Driver::Fake(_) => vec![Check::off("GIMP", "the fake driver only pretends").fix("set driver = \"local\"")],
        Driver::Local(local) => programs::examine(local.agent_program()).await,
        Driver::Kubernetes(cluster) => vec![match cluster.examine().await {
            Ok(()) => Check::ok("cluster", format!("its namespace {} can be seen", settings.kubernetes.namespace)),
            Err(error) => Check::failed("cluster", format!("{error:#}")),
        }],
    };
    if let Driver::Local(local) = &driver
        && let Err(error) = local.examine().await
    {
        checks.push(Check::failed("driver", format!("{error:#}")));
        return checks;
    }
    checks.extend(driver.protections().into_iter().map(|protection| {
        let state = if protection.on { State::Ok } else { State::Off };
        Check::new(protection.name, state, protection.detail)
    }));
    checks
}

#[cfg(test)]
mod tests;
