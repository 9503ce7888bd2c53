//! The least picture stream (`protocol::stream`) that a client can live with: one colour, and a mark that follows the
//! pointer and changes colour at each key and button. Lossless, so every update is exact, and can be proven.

use std::io::{Error, ErrorKind, Result};

use bytes::Bytes;
use futures::{Sink, SinkExt, StreamExt};
use protocol::session::ScreenSize;
use protocol::stream::{
    Action, AgentHello, InputEvent, MAX_TO_AGENT, MAX_TO_CLIENT, Op, Pong, Proof, Rect, STREAM_VERSION, TileCodec,
    ToAgent, ToClient, Update,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// Side of the mark, pixels.
const MARK: u16 = 24;
const GROUND: [u8; 3] = [110, 130, 150];
const COLOURS: [[u8; 3]; 4] = [[230, 60, 40], [40, 160, 60], [50, 90, 230], [240, 200, 40]];

/// What there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Picture {
    width: u16,
    height: u16,
    /// The mark's top left corner, where there is room.
    mark: (u16, u16),
    colour: u8,
}

/// One client's connection.
struct Client {
    start: Instant,
    now: Picture,
    /// What the client has from the last update; None: nothing, or it lost it.
    sent: Option<Picture>,
    /// Number of the last update.
    seq: u32,
    /// Updates it has drawn.
    drawn: u32,
    /// Number of the last event.
    input: u32,
    hidden: bool,
}

/// Speaks to one client until it goes. `input` is called for each event of a human.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut sizes: watch::Receiver<ScreenSize>,
    mut input: impl FnMut(),
) -> Result<()> {
    let (read, write) = tokio::io::split(stream);
    let mut read = FramedRead::new(read, records(MAX_TO_AGENT));
    let mut write = FramedWrite::new(write, records(MAX_TO_CLIENT));
    let Some(ToAgent::Hello(hello)) = next(&mut read).await? else { return Err(nonsense("no greeting")) };
    if hello.version != STREAM_VERSION {
        return Err(nonsense("another version"));
    }
    let ScreenSize { width, height, .. } = *sizes.borrow_and_update();
    let hello = AgentHello { version: STREAM_VERSION, width, height, video_encoder: None, webrtc: false };
    send(&mut write, &ToClient::Hello(hello)).await?;
    let mut client = Client {
        start: Instant::now(),
        now: Picture { width, height, mark: (width / 2, height / 2), colour: 0 },
        sent: None,
        seq: 0,
        drawn: 0,
        input: 0,
        hidden: false,
    };
    loop {
        if let Some(update) = client.update() {
            send(&mut write, &ToClient::Update(update)).await?;
        }
        tokio::select! {
            Ok(()) = sizes.changed() => {
                let ScreenSize { width, height, .. } = *sizes.borrow_and_update();
                client.now = Picture { width, height, ..client.now };
            }
            message = next(&mut read) => {
                let Some(message) = message? else { return Ok(()) };
                if let Some(answer) = client.take(message, &mut input) {
                    send(&mut write, &answer).await?;
                }
            }
        }
    }
}

impl Client {
    /// The next update, if the client has drawn the one before and would see a change.
    fn update(&mut self) -> Option<Update> {
        if self.hidden || self.drawn != self.seq || self.sent == Some(self.now) {
            return None;
        }
        let mut ops = vec![];
        let mark = self.now.mark_area();
        match self.sent {
            Some(sent) if sent.size() == self.now.size() => ops.push(Op::Fill { rect: sent.mark_area(), rgb: GROUND }),
            _ => {
                let (width, height) = self.now.size();
                ops.push(Op::Size { width, height });
                ops.push(Op::Fill { rect: Rect { x: 0, y: 0, width, height }, rgb: GROUND });
            }
        }
        let pixels = usize::from(mark.width) * usize::from(mark.height);
        let data = Bytes::from(self.now.colour().repeat(pixels));
        ops.push(Op::Tile { rect: mark, codec: TileCodec::Raw, slot: None, data });
        self.sent = Some(self.now);
        self.seq = self.seq.wrapping_add(1);
        Some(Update { seq: self.seq, exact: true, captured_us: self.clock(), input: self.input, ops })
    }

    fn take(&mut self, message: ToAgent, input: &mut impl FnMut()) -> Option<ToClient> {
        match message {
            ToAgent::Drawn(drawn) => self.drawn = drawn.seq,
            ToAgent::Input(events) => {
                for event in &events.events {
                    self.act(event, input);
                }
                return Some(ToClient::InputTaken { number: self.input });
            }
            ToAgent::Ping(ping) => return Some(ToClient::Pong(Pong { id: ping.id, clock_us: self.clock() })),
            ToAgent::Prove { id } => {
                let picture = self.sent?;
                let (width, height) = picture.size();
                return Some(ToClient::Proof(Proof { id, seq: self.seq, width, height, sha256: picture.sha256() }));
            }
            ToAgent::Refresh => (self.sent, self.drawn) = (None, self.seq),
            ToAgent::View(view) => self.hidden = view.hidden,
            ToAgent::Hello(_) | ToAgent::Clipboard { .. } | ToAgent::Signal { .. } => {}
        }
        None
    }

    /// Takes each number once.
    fn act(&mut self, event: &InputEvent, input: &mut impl FnMut()) {
        if event.number <= self.input {
            return;
        }
        self.input = event.number;
        match event.action {
            Action::Move { x, y } | Action::Wheel { x, y, .. } => self.now.mark = (x, y),
            Action::Button { x, y, down, .. } => {
                self.now.mark = (x, y);
                self.now.colour = self.now.colour.wrapping_add(down.into());
            }
            Action::Key { down, .. } => self.now.colour = self.now.colour.wrapping_add(down.into()),
            Action::ReleaseAll => return,
        }
        input();
    }

    /// Microseconds, wrapping.
    #[expect(clippy::cast_possible_truncation, reason = "wraps")]
    fn clock(&self) -> u32 {
        self.start.elapsed().as_micros() as u32
    }
}

impl Picture {
    fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    fn colour(&self) -> [u8; 3] {
        COLOURS[usize::from(self.colour % 4)]
    }

    fn mark_area(&self) -> Rect {
        let x = self.mark.0.min(self.width.saturating_sub(MARK));
        let y = self.mark.1.min(self.height.saturating_sub(MARK));
        Rect { x, y, width: MARK.min(self.width), height: MARK.min(self.height) }
    }

    /// As in `Proof`.
    fn sha256(&self) -> [u8; 32] {
        let mark = self.mark_area();
        let opaque = |[red, green, blue]: [u8; 3]| [red, green, blue, 255];
        let plain = opaque(GROUND).repeat(self.width.into());
        let mut marked = plain.clone();
        let from = usize::from(mark.x) * 4;
        let row = opaque(self.colour()).repeat(mark.width.into());
        marked[from..from + row.len()].copy_from_slice(&row);
        let mut digest = Sha256::new();
        for y in 0..self.height {
            digest.update(if (mark.y..mark.y + mark.height).contains(&y) { &marked } else { &plain });
        }
        digest.finalize().into()
    }
}

fn records(limit: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().little_endian().length_field_length(4).max_frame_length(limit).new_codec()
}

/// The next message; None: the client is gone.
async fn next(read: &mut FramedRead<impl AsyncRead + Unpin, LengthDelimitedCodec>) -> Result<Option<ToAgent>> {
    match read.next().await.transpose()? {
        Some(record) => ToAgent::decode(record.freeze()).map(Some).map_err(nonsense),
        None => Ok(None),
    }
}

async fn send(write: &mut (impl Sink<Bytes, Error = Error> + Unpin), message: &ToClient) -> Result<()> {
    write.send(message.encode().map_err(nonsense)?).await
}

fn nonsense(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::stream::{ClientHello, Drawn, Input, Ping, View};
    use tokio::io::AsyncWriteExt;

    use super::*;

    const SIZE: ScreenSize = ScreenSize { width: 320, height: 240, scale: 1.0 };

    fn hello(version: u32) -> Bytes {
        let hello = ClientHello { version, video: vec![], cache_pixels: 0, refresh: 60, tiles: 0 };
        ToAgent::Hello(hello).encode().unwrap()
    }

    /// What is answered to these messages, and how it ends; `inputs` counts events of a human.
    async fn say(messages: impl IntoIterator<Item = Bytes>) -> (Vec<ToClient>, Result<()>, usize) {
        let (_sizes, watched) = watch::channel(SIZE);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let mut inputs = 0;
        let client = async {
            let (read, write) = tokio::io::split(far);
            let mut write = FramedWrite::new(write, records(MAX_TO_AGENT));
            for message in messages {
                if write.send(message).await.is_err() {
                    break;
                }
            }
            let _cut_off = write.into_inner().shutdown().await;
            let read = FramedRead::new(read, records(MAX_TO_CLIENT));
            read.map(|record| ToClient::decode(record.unwrap().freeze()).unwrap()).collect().await
        };
        let (served, answers) = tokio::join!(serve(near, watched, || inputs += 1), client);
        (answers, served, inputs)
    }

    fn events(actions: &[Action]) -> Bytes {
        let events = actions.iter().zip(1..).map(|(&action, number)| InputEvent { number, at_us: 0, action });
        ToAgent::Input(Input { events: events.collect() }).encode().unwrap()
    }

    fn drawn(seq: u32) -> Bytes {
        ToAgent::Drawn(Drawn { seq, took_us: 0 }).encode().unwrap()
    }

    fn prove(id: u32) -> Bytes {
        ToAgent::Prove { id }.encode().unwrap()
    }

    fn updates(answers: &[ToClient]) -> Vec<&Update> {
        answers
            .iter()
            .filter_map(|answer| if let ToClient::Update(update) = answer { Some(update) } else { None })
            .collect()
    }

    /// A client's picture after these updates, as `Proof` has it.
    fn drawing(updates: &[&Update]) -> [u8; 32] {
        let (mut wide, mut pixels) = (0, vec![]);
        let fill = |pixels: &mut [[u8; 4]], wide: usize, rect: &Rect, rgb: &mut dyn FnMut() -> [u8; 3]| {
            for y in rect.y..rect.y + rect.height {
                for x in rect.x..rect.x + rect.width {
                    let [red, green, blue] = rgb();
                    pixels[usize::from(y) * wide + usize::from(x)] = [red, green, blue, 255];
                }
            }
        };
        for op in updates.iter().flat_map(|update| &update.ops) {
            match op {
                Op::Size { width, height } => {
                    wide = usize::from(*width);
                    pixels = vec![[0; 4]; wide * usize::from(*height)];
                }
                Op::Fill { rect, rgb } => fill(&mut pixels, wide, rect, &mut || *rgb),
                Op::Tile { rect, codec: TileCodec::Raw, data, .. } => {
                    let mut data = data.chunks(3);
                    fill(&mut pixels, wide, rect, &mut || data.next().unwrap().try_into().unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
        Sha256::digest(pixels.concat()).into()
    }

    #[tokio::test]
    async fn what_it_proves_is_what_a_client_draws() {
        let corner = Action::Move { x: u16::MAX, y: 3 };
        let key = Action::Key { keysym: 97, keycode: 38, down: true };
        let (answers, served, inputs) = say([hello(STREAM_VERSION), drawn(1), events(&[corner, key]), prove(7)]).await;
        served.unwrap();
        assert_eq!(inputs, 2);
        assert!(matches!(&answers[0], ToClient::Hello(AgentHello { version: STREAM_VERSION, width: 320, .. })));
        assert!(answers.contains(&ToClient::InputTaken { number: 2 }));
        let updates = updates(&answers);
        assert_eq!(updates.iter().map(|update| (update.seq, update.input)).collect::<Vec<_>>(), [(1, 0), (2, 2)]);
        let Some(ToClient::Proof(proof)) = answers.last() else { panic!("{answers:?}") };
        assert_eq!((proof.id, proof.seq, proof.sha256), (7, 2, drawing(&updates)));
    }

    #[tokio::test]
    async fn who_does_not_draw_or_look_gets_nothing_new() {
        let moved = events(&[Action::Move { x: 1, y: 1 }]);
        let (answers, ..) = say([hello(STREAM_VERSION), moved.clone()]).await;
        assert_eq!(updates(&answers).len(), 1, "the first is not drawn");
        let hidden = ToAgent::View(View { hidden: true, refresh: 60 }).encode().unwrap();
        let (answers, ..) = say([hello(STREAM_VERSION), drawn(1), hidden, moved.clone()]).await;
        assert_eq!(updates(&answers).len(), 1);
        let (answers, _, inputs) = say([hello(STREAM_VERSION), drawn(1), moved.clone(), moved]).await;
        assert_eq!((updates(&answers).len(), inputs), (2, 1), "each number is taken once");
        let refresh = ToAgent::Refresh.encode().unwrap();
        let (answers, ..) = say([hello(STREAM_VERSION), refresh]).await;
        assert_eq!(updates(&answers).iter().filter(|update| matches!(update.ops[0], Op::Size { .. })).count(), 2);
    }

    #[tokio::test]
    async fn what_it_does_not_know_ends_it() {
        let ping = ToAgent::Ping(Ping { id: 1 }).encode().unwrap();
        for wrong in
            [vec![ping], vec![hello(99)], vec![hello(STREAM_VERSION), Bytes::from_static(&[99])], vec![Bytes::new()]]
        {
            let (_, served, _) = say(wrong).await;
            assert_eq!(served.unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn random_messages_never_panic(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let messages = std::iter::once(hello(STREAM_VERSION)).chain(messages.into_iter().map(Bytes::from));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (answers, ..) = runtime.block_on(say(messages));
            prop_assert!(matches!(answers.first(), Some(ToClient::Hello(_))));
        }
    }
}
