//! Mails to users, off the path of requests: whoever asks for one learns neither whether it was sent nor how long that
//! took. Without a mail server links are printed in the log instead.

use std::sync::Arc;
use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::auth::email::Email;
use crate::config::{Settings, SmtpSecurity};

/// For each answer of the mail server.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("`mail_from` is missing or no mail address")]
    From,
    #[error("the mail can't be written: {0}")]
    Message(#[from] lettre::error::Error),
    #[error("the mail server: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
}

/// What a user is told, and the link they need.
#[derive(Clone, PartialEq, Eq)]
pub enum Letter {
    /// To whoever asked for a new password.
    PasswordReset { link: String },
    /// To whoever an administrator invites.
    Invite { link: String, days: i64 },
}

/// Sends letters. Clones share connections.
#[derive(Clone)]
pub struct Mailer(Arc<Way>);

enum Way {
    Smtp { transport: AsyncSmtpTransport<Tokio1Executor>, from: Mailbox, platform: String },
    Log,
}

impl Mailer {
    /// Connects nowhere yet.
    ///
    /// # Errors
    /// When `mail_from` is no address, or TLS can't be set up.
    pub fn new(settings: &Settings) -> Result<Self, MailError> {
        let Some(host) = &settings.smtp_host else { return Ok(Self(Arc::new(Way::Log))) };
        let from = settings.mail_from.as_deref().ok_or(MailError::From)?.parse().map_err(|_| MailError::From)?;
        let tls = || TlsParameters::new(host.clone());
        let (port, tls) = match settings.smtp_security {
            SmtpSecurity::None => (25, Tls::None),
            // Never without: a server that does not offer it gets no mail.
            SmtpSecurity::Starttls => (587, Tls::Required(tls()?)),
            SmtpSecurity::Tls => (465, Tls::Wrapper(tls()?)),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(settings.smtp_port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let (Some(user), Some(password)) = (&settings.smtp_user, &settings.smtp_password) {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        Ok(Self(Arc::new(Way::Smtp { transport: builder.build(), from, platform: settings.public_url() })))
    }

    /// Whether letters go out by mail.
    #[must_use]
    pub fn sends(&self) -> bool {
        matches!(*self.0, Way::Smtp { .. })
    }

    /// Delivers a letter to the mail server, or prints a reset link in the log: the one secret the log may hold, since
    /// whoever reads the server's log owns the machine.
    ///
    /// # Errors
    /// When the mail server can't be reached or refuses.
    pub async fn send(&self, to: &Email, letter: &Letter) -> Result<(), MailError> {
        match (&*self.0, letter) {
            (Way::Smtp { transport, from, platform }, letter) => {
                let to: lettre::Address =
                    to.as_str().parse().map_err(|_| lettre::error::Error::EmailMissingLocalPart)?;
                let message = Message::builder()
                    .from(from.clone())
                    .to(Mailbox::new(None, to))
                    .subject(letter.subject())
                    .header(ContentType::TEXT_PLAIN)
                    // RFC 3834: no vacation replies to this.
                    .raw_header(lettre::message::header::HeaderValue::new(
                        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted"),
                        "auto-generated".to_owned(),
                    ))
                    .body(letter.text(platform))?;
                transport.send(message).await?;
                Ok(())
            }
            (Way::Log, Letter::PasswordReset { link }) => {
                tracing::warn!(
                    "no mail server is configured (smtp_host): give this link to whoever asked for a new password: {link}"
                );
                Ok(())
            }
            // The administrator who made it has the link on the screen.
            (Way::Log, Letter::Invite { .. }) => Ok(()),
        }
    }
}

impl Letter {
    fn subject(&self) -> &'static str {
        match self {
            Self::PasswordReset { .. } => "Choose a new password",
            Self::Invite { .. } => "Your invitation to GIMP in the browser",
        }
    }

    /// Holds nothing that somebody else could have typed: our server must not carry other people's messages.
    fn text(&self, platform: &str) -> String {
        match self {
            Self::PasswordReset { link } => format!(
                "Hello,\n\n\
                 somebody, probably you, asked for a new password for your account at\n\
                 {platform}\n\n\
                 To choose one, open this link within an hour:\n\n\
                 {link}\n\n\
                 The link works once. When you have chosen a new password you are signed out\n\
                 everywhere and can sign in with it.\n\n\
                 If it was not you, there is nothing to do: your password stays as it is.\n"
            ),
            Self::Invite { link, days } => format!(
                "Hello,\n\n\
                 you are invited to use GIMP, the image editor, in your browser at\n\
                 {platform}\n\n\
                 To make your account, open this link within {days} {}:\n\n\
                 {link}\n\n\
                 The link works once, and for this e-mail address only.\n",
                if *days == 1 { "day" } else { "days" }
            ),
        }
    }
}

#[cfg(test)]
pub(crate) mod sink;

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Email {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn a_letter_arrives_as_written() {
        let mut sink = sink::Sink::listen().await;
        let mut settings = Settings { public_url: Some("https://gimp.example.org".into()), ..Settings::default() };
        sink.configure(&mut settings);
        let mailer = Mailer::new(&settings).expect("settings are fine");
        assert!(mailer.sends());
        let link = format!("https://gimp.example.org/reset#token={}", "x".repeat(43));
        mailer.send(&to("ann@example.org"), &Letter::PasswordReset { link: link.clone() }).await.expect("sent");
        let mail = sink.mail().await;
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("gimp@example.org", &["ann@example.org".to_owned()][..]));
        assert_eq!(mail.login, Some(("platform".into(), "mail secret".into())));
        for header in [
            "From: GIMP <gimp@example.org>",
            "To: ann@example.org",
            "Subject: Choose a new password",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(mail.headers.contains(header), "{header} in {}", mail.headers);
        }
        assert_eq!(mail.link(), link);
        assert_eq!(mail.body.trim_end(), Letter::PasswordReset { link }.text("https://gimp.example.org").trim_end());

        let link = "https://gimp.example.org/register#invite=abc".to_owned();
        mailer.send(&to("bob@example.org"), &Letter::Invite { link: link.clone(), days: 1 }).await.expect("sent");
        let mail = sink.mail().await;
        assert_eq!(mail.link(), link);
        assert!(mail.body.contains("within 1 day:"), "{}", mail.body);
    }

    #[tokio::test]
    async fn a_refusing_or_missing_server_is_an_error() {
        let sink = sink::Sink::listen().await;
        let mut settings = Settings::default();
        sink.configure(&mut settings);
        let letter = Letter::Invite { link: String::new(), days: 2 };
        let send = async |settings: &Settings, to: &Email| {
            Mailer::new(settings).expect("settings are fine").send(to, &letter).await
        };
        let full = send(&settings, &to("full@example.org")).await;
        assert!(matches!(full, Err(MailError::Smtp(ref error)) if error.is_transient()), "{full:?}");
        // The sink speaks no TLS: mail must not go out without it.
        for security in [SmtpSecurity::Starttls, SmtpSecurity::Tls] {
            settings.smtp_security = security;
            let plain = send(&settings, &to("ann@example.org")).await;
            assert!(matches!(plain, Err(MailError::Smtp(_))), "{plain:?}");
        }
        assert!(sink.is_empty());
    }

    #[test]
    fn a_sender_that_is_no_address_is_refused() {
        for from in [None, Some("nobody")] {
            let settings = Settings {
                smtp_host: Some("mail.example.org".into()),
                mail_from: from.map(str::to_owned),
                ..Settings::default()
            };
            assert!(matches!(Mailer::new(&settings), Err(MailError::From)));
        }
    }
}
