//! A mail server for tests: takes every mail over TCP and hands it over.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::config::{Secret, Settings, SmtpSecurity};

pub(crate) struct Sink {
    port: u16,
    mails: mpsc::Receiver<Mail>,
}

/// A mail as it came over the wire.
#[derive(Debug)]
pub(crate) struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// Decoded from AUTH PLAIN: user and password.
    pub login: Option<(String, String)>,
    pub headers: String,
    pub body: String,
}

impl Sink {
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (sender, mails) = mpsc::channel(100);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, sender.clone()));
            }
        });
        Self { port, mails }
    }

    /// Makes the platform send its mail here.
    pub fn configure(&self, settings: &mut Settings) {
        settings.smtp_host = Some("127.0.0.1".to_owned());
        settings.smtp_port = Some(self.port);
        settings.smtp_security = SmtpSecurity::None;
        settings.mail_from = Some("GIMP <gimp@example.org>".to_owned());
        settings.smtp_user = Some("platform".to_owned());
        settings.smtp_password = Some(Secret::new("mail secret"));
    }

    /// The next mail.
    pub async fn mail(&mut self) -> Mail {
        tokio::time::timeout(std::time::Duration::from_secs(20), self.mails.recv())
            .await
            .expect("a mail within 20 s")
            .expect("the sink listens")
    }

    /// Whether one is there already.
    pub fn is_empty(&self) -> bool {
        self.mails.is_empty()
    }
}

impl Mail {
    /// The only link of the mail that has a token or code.
    pub fn link(&self) -> &str {
        let mut links = self.body.lines().filter(|line| line.starts_with("http") && line.contains('='));
        let link = links.next().expect("a link");
        assert_eq!(links.next(), None, "one link");
        link
    }
}

async fn converse(stream: TcpStream, mails: mpsc::Sender<Mail>) {
    let mut stream = BufReader::new(stream);
    let (mut from, mut to, mut login) = (String::new(), vec![], None);
    let mut answer = "220 sink ESMTP\r\n".to_owned();
    loop {
        stream.write_all(answer.as_bytes()).await.expect("the platform listens");
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        let command = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        answer = match command.as_str() {
            "EHLO" => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n".to_owned(),
            "AUTH" => {
                use base64::Engine;
                let plain = line.rsplit(' ').next().expect("a response");
                let plain = base64::engine::general_purpose::STANDARD.decode(plain).expect("base64");
                let plain = String::from_utf8(plain).expect("text");
                let mut parts = plain.split('\0').skip(1).map(str::to_owned);
                login = Some((parts.next().expect("a user"), parts.next().expect("a password")));
                "235 2.7.0 welcome\r\n".to_owned()
            }
            "MAIL" => {
                from = address(line);
                "250 2.1.0 fine\r\n".to_owned()
            }
            "RCPT" if address(line) == "full@example.org" => "452 4.2.2 mailbox full\r\n".to_owned(),
            "RCPT" => {
                to.push(address(line));
                "250 2.1.5 fine\r\n".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.expect("the platform listens");
                let (headers, body) = data(&mut stream).await;
                let mail =
                    Mail { from: from.clone(), to: std::mem::take(&mut to), login: login.clone(), headers, body };
                mails.send(mail).await.expect("the test listens");
                "250 2.0.0 taken\r\n".to_owned()
            }
            "RSET" | "NOOP" => "250 2.0.0 fine\r\n".to_owned(),
            "QUIT" => return,
            other => format!("502 5.5.1 {other}?\r\n"),
        };
    }
}

fn address(line: &str) -> String {
    let start = line.find('<').expect("<");
    let end = line.find('>').expect(">");
    line[start + 1..end].to_owned()
}

async fn data(stream: &mut BufReader<TcpStream>) -> (String, String) {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a line");
        if line == ".\r\n" {
            break;
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
    let (headers, body) = text.split_once("\r\n\r\n").expect("headers and a body");
    let body = body.replace("\r\n", "\n");
    let encoded = headers.contains("Content-Transfer-Encoding: quoted-printable");
    (headers.to_owned(), if encoded { decode(&body) } else { body })
}

/// Quoted-printable, RFC 2045 section 6.7.
fn decode(body: &str) -> String {
    let joined = body.replace("=\n", "");
    let mut parts = joined.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two hex digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).expect("text")
}
