use bytes::Bytes;
use proptest::prelude::*;
use serde::Serialize;

use super::*;

/// Messages both sides are tested with: `golden/stream.json`. Renew it with `UPDATE_GOLDEN=1`.
#[derive(Serialize)]
struct Golden<'a, T> {
    name: &'a str,
    /// The message as it travels.
    hex: String,
    /// The message as it is understood.
    message: T,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to_client() -> Vec<(&'static str, ToClient)> {
    let rect = Rect { x: 3, y: 500, width: 64, height: 2 };
    let ops = vec![
        Op::Size { width: 1920, height: 1080 },
        Op::Fill { rect, rgb: [0x45, 0, 255] },
        Op::Tile { rect, codec: TileCodec::Raw, slot: None, data: Bytes::from_static(&[1, 2, 3]) },
        Op::Tile { rect, codec: TileCodec::Planes, slot: Some(7), data: Bytes::from_static(&[0, 0x28]) },
        Op::Tile { rect, codec: TileCodec::Palette, slot: Some(0), data: Bytes::new() },
        Op::Cached { rect, slot: 7 },
        Op::Copy { rect, to_x: 4, to_y: 499 },
        Op::Video {
            format: VideoFormat::H264Yuv444,
            keyframe: true,
            rects: vec![rect, Rect { x: 0, y: 0, width: 1, height: 1 }],
            source: VideoSource::Here { data: Bytes::from_static(&[0, 0, 0, 1, 0x67]) },
        },
        Op::Video {
            format: VideoFormat::H264,
            keyframe: false,
            rects: vec![],
            source: VideoSource::Rtp { timestamp: 4_000_000_001 },
        },
    ];
    vec![
        (
            "hello",
            ToClient::Hello(AgentHello {
                version: STREAM_VERSION,
                width: 1920,
                height: 1080,
                video_encoder: Some("libx264".into()),
                webrtc: true,
            }),
        ),
        ("update", ToClient::Update(Update { seq: 4_000_000_000, exact: true, captured_us: 12, input: 99, ops })),
        ("empty update", ToClient::Update(Update { seq: 1, exact: false, captured_us: 0, input: 0, ops: vec![] })),
        (
            "cursor",
            ToClient::Cursor(Cursor {
                hot_x: 1,
                hot_y: 0,
                width: 2,
                height: 1,
                rgba: Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]),
            }),
        ),
        ("clipboard", ToClient::Clipboard { text: "Tinte \u{1f58b}".into() }),
        ("pong", ToClient::Pong(Pong { id: 5, clock_us: u32::MAX })),
        ("input taken", ToClient::InputTaken { number: 70_000 }),
        ("proof", ToClient::Proof(Proof { id: 2, seq: 3, width: 4, height: 5, sha256: [0xab; 32] })),
        ("signal", ToClient::Signal { signal: Signal::Answer { sdp: "v=0".into() } }),
        ("stats", ToClient::Stats(AgentStats { tiles_ms: 0.5, video_ms: 8.0, link_bps: Some(5_000_000), viewers: 2 })),
    ]
}

fn to_agent() -> Vec<(&'static str, ToAgent)> {
    let actions = [
        Action::Move { x: 1, y: 65_535 },
        Action::Button { x: 1, y: 2, button: 3, down: true },
        Action::Wheel { x: 1, y: 2, dx: -120, dy: 30 },
        Action::Key { keysym: 0x0100_20ac, keycode: 26, down: false },
        Action::ReleaseAll,
    ];
    let events = (1..).zip(actions).map(|(number, action)| InputEvent { number, at_us: number * 1000, action });
    vec![
        (
            "hello",
            ToAgent::Hello(ClientHello {
                version: STREAM_VERSION,
                video: vec![VideoFormat::H264, VideoFormat::H264Yuv444],
                cache_pixels: 8_000_000,
                refresh: 120,
                tiles: TILES_VERSION,
            }),
        ),
        ("drawn", ToAgent::Drawn(Drawn { seq: 7, took_us: 900 })),
        ("input", ToAgent::Input(Input { events: events.collect() })),
        ("clipboard", ToAgent::Clipboard { text: "#a1b2c3".into() }),
        ("ping", ToAgent::Ping(Ping { id: 5 })),
        ("prove", ToAgent::Prove { id: 2 }),
        ("refresh", ToAgent::Refresh),
        ("view", ToAgent::View(View { hidden: true, refresh: 60 })),
        ("signal", ToAgent::Signal { signal: Signal::Offer { sdp: "v=0".into() } }),
        ("close", ToAgent::Signal { signal: Signal::Close }),
    ]
}

#[test]
fn golden_messages_hold() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/stream.json");
    let down: Vec<_> = to_client()
        .into_iter()
        .map(|(name, message)| Golden { name, hex: hex(&message.encode().expect("encodes")), message })
        .collect();
    let up: Vec<_> = to_agent()
        .into_iter()
        .map(|(name, message)| Golden { name, hex: hex(&message.encode().expect("encodes")), message })
        .collect();
    let text = serde_json::to_string_pretty(&serde_json::json!({ "toClient": down, "toAgent": up })).expect("JSON");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text + "\n").expect("writes");
        return;
    }
    assert_eq!(std::fs::read_to_string(path).expect("golden/stream.json").trim_end(), text);
}

#[test]
fn messages_survive_a_round_trip() {
    for (name, message) in to_client() {
        assert_eq!(ToClient::decode(message.encode().expect("encodes")), Ok(message), "{name}");
    }
    for (name, message) in to_agent() {
        assert_eq!(ToAgent::decode(message.encode().expect("encodes")), Ok(message), "{name}");
    }
}

#[test]
fn what_is_cut_or_goes_on_is_refused() {
    for (name, message) in to_client() {
        let whole = message.encode().expect("encodes");
        // Text and JSON end where the message ends.
        if matches!(message, ToClient::Clipboard { .. }) {
            continue;
        }
        for end in 0..whole.len() {
            assert!(ToClient::decode(whole.slice(..end)).is_err(), "{name} cut at {end}");
        }
        let mut more = whole.to_vec();
        more.push(0);
        assert!(ToClient::decode(more.into()).is_err(), "{name} with more");
    }
}

#[test]
fn limits_hold() {
    let mut input = vec![0x43];
    input.extend(u16::MAX.to_le_bytes());
    assert_eq!(ToAgent::decode(input.into()), Err(DecodeError::OutOfBounds("number of events")));
    let text = ToAgent::Clipboard { text: "x".repeat(MAX_CLIPBOARD + 1) };
    assert_eq!(ToAgent::decode(text.encode().expect("encodes")), Err(DecodeError::OutOfBounds("text")));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        if let Ok(message) = ToAgent::decode(bytes.clone()) {
            prop_assert_eq!(ToAgent::decode(message.encode().expect("encodes")), Ok(message));
        }
        let _ = ToClient::decode(bytes);
    }
}
