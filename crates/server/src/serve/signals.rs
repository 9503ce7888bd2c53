//! What SIGTERM, SIGINT and SIGHUP mean.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::TlsMode;

/// How the server is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM, or SIGHUP without TLS (the terminal was closed): a restart or an upgrade.
    KeepSessions,
    /// SIGINT: the person at the terminal wants everything gone.
    EndSessions,
}

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None under TLS, where SIGHUP means to read the certificate again.
    hangup: Option<Signal>,
}

impl Signals {
    pub fn new(tls: TlsMode) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if tls == TlsMode::Off { Some(signal(SignalKind::hangup())?) } else { None },
        })
    }

    /// Waits for the first of them.
    pub async fn ending(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::KeepSessions,
            _ = self.interrupt.recv() => Ending::EndSessions,
            () = hung_up(self.hangup.as_mut()) => Ending::KeepSessions,
        }
    }

    /// From now on SIGINT ends the process, and nothing else.
    pub fn leave_at_once_on_interrupt(mut self) {
        tokio::spawn(async move {
            self.interrupt.recv().await;
            eprintln!("gimp-platform: leaving at once; sessions go on and are found again at the next start");
            // 128 + SIGINT, as shells have it.
            std::process::exit(130);
        });
    }
}

async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}
