//! The smallest VNC viewer that a test needs (RFC 6143), over the agent's upgrade.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{TOKEN, TestSession};

pub struct Viewer {
    stream: TokioIo<Upgraded>,
    pub width: u16,
    pub height: u16,
    pub name: String,
}

impl Viewer {
    pub async fn connect(session: &TestSession) -> Self {
        let request = Request::builder()
            .uri(protocol::agent::VNC_PATH)
            .header("host", "agent")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("connection", "Upgrade")
            .header("upgrade", protocol::agent::VNC_UPGRADE)
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let response = session.send(request).await.expect("the agent answers");
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.expect("upgrades"));

        let mut version = [0; 12];
        stream.read_exact(&mut version).await.expect("a version");
        assert_eq!(&version, b"RFB 003.008\n");
        stream.write_all(&version).await.expect("writes");
        let types = stream.read_u8().await.expect("security types");
        let mut offered = vec![0; types.into()];
        stream.read_exact(&mut offered).await.expect("security types");
        assert_eq!(offered, [1], "only None: the agent's token is the authentication");
        stream.write_u8(1).await.expect("writes");
        assert_eq!(stream.read_u32().await.expect("a security result"), 0);
        stream.write_u8(0).await.expect("asks to be exclusive, which is refused silently");
        let (width, height) = (stream.read_u16().await.expect("width"), stream.read_u16().await.expect("height"));
        let mut format = [0; 16];
        stream.read_exact(&mut format).await.expect("a pixel format");
        let length = stream.read_u32().await.expect("a length");
        let mut name = vec![0; length as usize];
        stream.read_exact(&mut name).await.expect("a name");
        Self { stream, width, height, name: String::from_utf8_lossy(&name).into_owned() }
    }

    /// Asks for the whole picture in raw encoding and returns its pixels, 4 bytes each.
    pub async fn picture(&mut self) -> Vec<u8> {
        self.stream.write_all(&[2, 0, 0, 1, 0, 0, 0, 0]).await.expect("writes"); // SetEncodings: raw only
        let mut request = vec![3, 0, 0, 0, 0, 0];
        request.extend(self.width.to_be_bytes());
        request.extend(self.height.to_be_bytes());
        self.stream.write_all(&request).await.expect("writes");
        let mut picture = vec![0; usize::from(self.width) * usize::from(self.height) * 4];
        let mut seen = 0;
        while seen < picture.len() {
            assert_eq!(self.stream.read_u16().await.expect("a message") >> 8, 0, "a framebuffer update");
            for _ in 0..self.stream.read_u16().await.expect("a count") {
                let mut head = [0_u16; 4];
                for value in &mut head {
                    *value = self.stream.read_u16().await.expect("a rectangle");
                }
                assert_eq!(self.stream.read_u32().await.expect("an encoding"), 0);
                let [x, y, width, height] = head.map(usize::from);
                let mut row = vec![0; width * 4];
                for line in 0..height {
                    self.stream.read_exact(&mut row).await.expect("pixels");
                    let start = ((y + line) * usize::from(self.width) + x) * 4;
                    picture[start..start + row.len()].copy_from_slice(&row);
                    seen += row.len();
                }
            }
        }
        picture
    }

    pub async fn key(&mut self, keysym: u32) {
        for down in [1, 0] {
            let mut message = vec![4, down, 0, 0];
            message.extend(keysym.to_be_bytes());
            self.stream.write_all(&message).await.expect("writes");
        }
    }

    pub async fn chord(&mut self, keysyms: &[u32]) {
        let down = keysyms.iter().map(|keysym| (1, keysym));
        let up = keysyms.iter().rev().map(|keysym| (0, keysym));
        for (down, keysym) in down.chain(up) {
            let mut message = vec![4, down, 0, 0];
            message.extend(keysym.to_be_bytes());
            self.stream.write_all(&message).await.expect("writes");
        }
    }

    pub async fn point(&mut self, x: u16, y: u16, buttons: u8) {
        let mut message = vec![5, buttons];
        message.extend(x.to_be_bytes());
        message.extend(y.to_be_bytes());
        self.stream.write_all(&message).await.expect("writes");
    }

    pub async fn cut_text(&mut self, text: &str) {
        let latin: Vec<u8> = text.chars().map(|letter| u8::try_from(u32::from(letter)).expect("Latin 1")).collect();
        let mut message = vec![6, 0, 0, 0];
        message.extend(u32::try_from(latin.len()).expect("short").to_be_bytes());
        message.extend(latin);
        self.stream.write_all(&message).await.expect("writes");
    }

    /// Next text that the session put on its clipboard.
    pub async fn next_cut_text(&mut self) -> String {
        loop {
            match self.stream.read_u8().await.expect("a message") {
                2 => {} // Bell
                3 => {
                    let mut padding = [0; 3];
                    self.stream.read_exact(&mut padding).await.expect("padding");
                    let mut text = vec![0; self.stream.read_u32().await.expect("a length") as usize];
                    self.stream.read_exact(&mut text).await.expect("text");
                    return text.into_iter().map(char::from).collect();
                }
                other => panic!("unexpected message {other}"),
            }
        }
    }
}
