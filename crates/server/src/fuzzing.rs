//! What parses bytes from outside, as functions over any bytes: driven by libFuzzer from `fuzz/`, and by mutated samples
//! in every test run. Each panics when something holds that must not.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use protocol::agent::AgentStatus;
use protocol::media::{HEADER, MAX_DATAGRAM, Remote};
use protocol::stream::{ToAgent, ToClient};
use time::OffsetDateTime;

use crate::api::client_address::ClientAddress;
use crate::api::files::range::{self, Selection};
use crate::api::files::uploads::{UPLOAD_OFFSET, parse_offset};
use crate::api::origin;
use crate::auth::{current, token};
use crate::config::Settings;
use crate::driver::AgentKey;
use crate::gateway::udp::UserNames;
use crate::gateway::udp::stun::BindingRequest;
use crate::gateway::udp::user_name::Claim;
use crate::ids::SessionId;
use crate::session::lifecycle::{Lifecycle, Rules};
use crate::session::report::Report;
use crate::workspace::path::{MAX_DEPTH, MAX_NAME, Name, WorkspacePath, is_reserved};
use crate::workspace::{recovery, thumbnail};

/// One parser, and bytes it takes, to start from.
pub struct Target {
    /// As in `fuzz/fuzz_targets`.
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub samples: &'static [&'static [u8]],
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "workspace_path",
        run: workspace_path,
        samples: &[b"", b"pictures/cat.xcf", b"base64:_w/a", b"../x", b".gimp-platform/trash", b"a//b", "ü/🎨".as_bytes()],
    },
    Target {
        name: "file_name",
        run: file_name,
        samples: &[b"cat.xcf", b"base64:YQ", b"\xff\xfe", b"two\nlines", b".config", b"a.tar.gz"],
    },
    Target {
        name: "recovery",
        run: recovery,
        samples: &[
            br#"{"id":"a","name":"cat.png","original":"p/cat.png","savedAt":"2026-01-02T03:04:05Z","size":1,"sessionId":null}"#,
            br#"{"id":"a","name":"\n","original":"../..","savedAt":"-9999-01-01T00:00:00-23:59","size":1}"#,
        ],
    },
    Target {
        name: "agent_status",
        run: agent_status,
        samples: &[
            br#"{"protocolVersion":1,"sessionId":"00000000-0000-0000-0000-000000000000","phase":{"kind":"ending","reason":"idle","stage":"save"},"idleMs":1,"viewers":1,"screen":{"width":1280,"height":800,"scale":1.5},"gimpVersion":"2.10.34","capabilities":{"vnc":true,"resize":true,"openFiles":true,"penUnavailable":null},"restarts":[{"at":"2026-01-01T00:00:00Z","what":"gimp","cause":"killed by signal 9"}],"timings":[{"step":"ready","atMs":1300}]}"#,
        ],
    },
    Target {
        name: "settings",
        run: settings,
        samples: &[
            b"listen = \"127.0.0.1:8080\"\nquota_gb = 20\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
            b"tls = \"self-signed\"\nregistration = \"invite\"\nmetrics_listen = \"off\"\n",
            b"[section]\nsession_minutes = -1\n",
        ],
    },
    Target {
        name: "range",
        run: range,
        samples: &[
            b"\0\0\0\0\0\0\0\x64bytes=0-9\nSun, 06 Nov 1994 08:49:37 GMT\n\"v1\", W/\"v2\"\n*",
            b"\xff\xff\xff\xff\xff\xff\xff\xffbytes=-5\n\"v1\"",
            b"\0\0\0\0\0\0\0\0bytes=0-",
        ],
    },
    Target { name: "upload_offset", run: upload_offset, samples: &[b"0", b"18446744073709551615", b"1\n1"] },
    Target {
        name: "credentials",
        run: credentials,
        samples: &[
            b"Bearer 0123456789abcdef\ngimp_access=abc; gimp_refresh=def",
            b"\ngimp_access=\"quoted\"; other=%41; =; ;",
        ],
    },
    Target {
        name: "forwarded_for",
        run: forwarded_for,
        samples: &[b"203.0.113.9, 10.0.0.2", b"\"[2001:db8::5]:4711\"\n::ffff:1.2.3.4", b"unknown, ,"],
    },
    Target {
        name: "origin",
        run: origin,
        samples: &[b"https://gimp.example.org\ngimp.example.org:443", b"null", b"http://[::1]:8080\n[::1]:8080"],
    },
    Target {
        name: "thumbnail",
        run: thumbnail,
        samples: &[
            b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
            b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\x04\0\0\0\x13\x0b\0\0\x13\x0b\0\0\0\0\0\0\0\0\0\0\xff\0\0\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82",
        ],
    },
    Target {
        name: "ice_check",
        run: ice_check,
        samples: &[
            // A fragment of 36 zero bytes; then RFC 5769, section 2.1.
            b"\0\x01\0\x3c\x21\x12\xa4\x42abcdefghijkl\0\x06\0\x35AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA:abcd\0\0\0",
            b"\0\x01\0\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\x80\x22\0\x10STUN test client\0\x24\0\x04\x6e\0\x01\xff\x80\x29\0\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\0\x06\0\x09evtj:h6vY   \0\x08\0\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\0\x04\xe5\x7a\x3b\xcf",
        ],
    },
    Target {
        name: "media_message",
        run: media_message,
        samples: &[b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07\x12\x34\0datagram", b"0123456789abcdefgh\x01", b"0123456789abcdefgh\x02x"],
    },
    Target {
        name: "stream_message",
        run: stream_message,
        // As in protocol's golden messages: hello, drawn, input; and figures too large for their type.
        samples: &[
            b"A{\"version\":2,\"video\":[\"h264\"],\"cachePixels\":8000000,\"refresh\":120}",
            b"B\x07\0\0\0\x84\x03\0\0",
            b"C\x05\0\x01\0\0\0\xe8\x03\0\0\x01\x01\0\xff\xff\x02\0\0\0\xd0\x07\0\0\x02\x01\0\x02\0\x03",
            b"\x08[0,6000000000000000000000000000000000000000000000000000000000000,0,77]",
        ],
    },
];

/// Paths from requests are canonical and stay inside.
pub fn workspace_path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(path) = WorkspacePath::parse(text) else { return };
    assert_eq!(path.to_string(), text);
    assert!(path.names().len() <= MAX_DEPTH);
    assert!(path.names().first().is_none_or(|name| !is_reserved(name)));
    for name in path.names() {
        assert!(!matches!(name.as_bytes(), b"" | b"." | b"..") && name.as_bytes().len() <= MAX_NAME);
        assert!(!name.as_bytes().iter().any(|byte| matches!(byte, 0 | b'/')));
    }
    if let Some(plain) = path.plain() {
        assert!(std::path::Path::new(&plain).components().all(|part| matches!(part, std::path::Component::Normal(_))));
    }
}

/// Names from the file system travel and come back.
pub fn file_name(bytes: &[u8]) {
    let Ok(name) = Name::from_bytes(bytes) else { return };
    assert_eq!(Name::parse(&name.escaped()), Ok(name.clone()));
    let variant = name.variant("restored", 2);
    assert!(Name::from_bytes(variant.as_bytes()).is_ok());
    if name.check_new().is_ok() {
        assert!(variant.check_new().is_ok());
    }
}

/// What a session's description of a recovery may make us say.
pub fn recovery(bytes: &[u8]) {
    let Some(recovery) = recovery::parse_description(bytes) else { return };
    assert!(!recovery.name.is_empty() && !recovery.name.chars().any(char::is_control));
    assert!(recovery.original.is_none_or(|path| WorkspacePath::parse(&path).is_ok()));
}

/// A line of the agent's event stream.
pub fn agent_status(bytes: &[u8]) {
    let Ok(status) = serde_json::from_slice::<AgentStatus>(bytes) else { return };
    let text = serde_json::to_string(&status).expect("serialises");
    if status.screen.scale.is_finite() {
        assert_eq!(serde_json::from_str::<AgentStatus>(&text).expect("parses"), status);
    }
    let session = SessionId(status.session_id);
    let Ok(report) = Report::check(status, session) else { return };
    let now = OffsetDateTime::UNIX_EPOCH;
    let (mut life, _) = Lifecycle::begin(Rules::new(&Settings::default()), now);
    life.launched(now, Ok(()));
    life.heard(now, &report);
    assert!(life.wake_at().is_none_or(|at| at > now), "the session's keeper would spin");
}

/// A settings file: usable, or an error in words.
pub fn settings(bytes: &[u8]) {
    // These name other files, which would be read.
    if bytes.windows(5).any(|window| window == b"_file") {
        return;
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    if let Err(error) = crate::config::load::load(BTreeMap::new(), std::iter::empty(), Some(file.path())) {
        assert!(!error.to_string().is_empty());
    }
}

/// `Range` and the conditions of RFC 9110: 8 bytes of size, then a line per header.
pub fn range(bytes: &[u8]) {
    let Some((size, lines)) = bytes.split_first_chunk::<8>() else { return };
    let names = [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MATCH, header::IF_MODIFIED_SINCE];
    let headers = headers(lines, names.into_iter());
    let size = u64::from_be_bytes(*size);
    let current = range::Current { size, etag: "\"v1\"", modified: OffsetDateTime::UNIX_EPOCH };
    if let Selection::Part { start, length } = range::select(&headers, current) {
        assert!(length > 0 && start.checked_add(length).is_some_and(|end| end <= size));
    }
}

/// The offset of an upload's part.
pub fn upload_offset(bytes: &[u8]) {
    let headers = headers(bytes, std::iter::repeat(UPLOAD_OFFSET));
    if let Some(offset) = parse_offset(&headers) {
        assert_eq!(headers.get_all(UPLOAD_OFFSET).iter().count(), 1);
        let text = headers[UPLOAD_OFFSET].to_str().expect("digits").trim_start_matches('0');
        assert_eq!(if text.is_empty() { "0" } else { text }, offset.to_string());
    }
}

/// `Authorization` and `Cookie`: what is looked up as a token.
pub fn credentials(bytes: &[u8]) {
    let mut request = Request::new(());
    *request.headers_mut() = headers(bytes, [header::AUTHORIZATION, header::COOKIE].into_iter());
    if let Some(access) = current::access_token(&request.into_parts().0) {
        assert_eq!(token::hash(&access).len(), 64);
    }
}

/// `X-Forwarded-For`: only believed when a trusted proxy sent it.
pub fn forwarded_for(bytes: &[u8]) {
    let headers = headers(bytes, std::iter::repeat(HeaderName::from_static("x-forwarded-for")));
    let stranger = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    assert_eq!(ClientAddress::determine(stranger, &headers, &trusted).0, stranger);
    let client = ClientAddress::determine(proxy, &headers, &trusted).0;
    assert_eq!(client, client.to_canonical());
}

/// `Origin` against the host: another site is never ours.
pub fn origin(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (origin, host) = text.split_once('\n').unwrap_or((&text, ""));
    let own = origin::is_own(origin, Some(host), "https://gimp.example.org", false);
    assert!(!own || origin.starts_with("http://") || origin.starts_with("https://"));
    if !host.to_ascii_lowercase().contains("evil.example") {
        assert!(!origin::is_own("https://evil.example", Some(host), "https://gimp.example.org", false));
    }
}

/// A picture of any kind: refused, or small.
pub fn thumbnail(bytes: &[u8]) {
    if let Ok(thumbnail) = thumbnail::shrink(bytes) {
        assert!(thumbnail.bytes.len() < 512 * 1024);
    }
}

/// The first datagram of a browser, or of somebody who would like to be one: nobody forges our fragments.
pub fn ice_check(bytes: &[u8]) {
    let Some(check) = BindingRequest::parse(bytes) else { return };
    let Some(user_name) = check.user_name else { return };
    assert!(bytes.windows(user_name.len().max(1)).any(|part| part == user_name) || user_name.is_empty());
    let Some(claim) = Claim::parse(user_name) else { return };
    let names = UserNames::new(&AgentKey::of_bytes([7; 32]));
    assert!(!names.minted(&claim));
    let ours = format!("{}:abcd", names.mint(claim.session(), claim.expires()));
    let again = Claim::parse(ours.as_bytes()).expect("a claim of ours");
    assert!(names.minted(&again));
    assert_eq!((again.session(), again.expires()), (claim.session(), claim.expires()));
}

/// What an agent wants sent, and to whom.
pub fn media_message(bytes: &[u8]) {
    let Ok((to, datagram)) = Remote::decode(bytes) else { return };
    assert!((1..=MAX_DATAGRAM).contains(&datagram.len()));
    assert_eq!([&to.encode()[..], datagram].concat(), bytes);
    assert_eq!(bytes.len(), HEADER + datagram.len());
    assert_eq!(to.address().ip(), to.address().ip().to_canonical());
}

/// What is understood is said again in the same way, in both directions.
pub fn stream_message(bytes: &[u8]) {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    if let Ok(message) = ToAgent::decode(bytes.clone()) {
        let said = message.encode().expect("it was short enough");
        assert_eq!(ToAgent::decode(said.clone()).expect("our own").encode(), Ok(said));
    }
    if let Ok(message) = ToClient::decode(bytes) {
        let said = message.encode().expect("it was short enough");
        assert_eq!(ToClient::decode(said.clone()).expect("our own").encode(), Ok(said));
    }
}

/// One header per line, as far as lines can be header values.
fn headers(bytes: &[u8], names: impl Iterator<Item = HeaderName>) -> HeaderMap {
    let lines = bytes.split(|byte| *byte == b'\n').take(16);
    names.zip(lines).filter_map(|(name, line)| Some((name, HeaderValue::from_bytes(line).ok()?))).fold(
        HeaderMap::new(),
        |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// A change to a sample.
    #[derive(Debug, Clone)]
    enum Edit {
        Set(Index, u8),
        Insert(Index, Vec<u8>),
        Remove(Index, usize),
        Repeat(Index, usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        // Bytes that parsers care about come up more often.
        let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"\0\n\r\"'\\/.,:;=-+*%[]{}()09aZ \xff\x80"[..])];
        prop_oneof![
            (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
            (any::<Index>(), prop::collection::vec(byte, 1..8)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
            (any::<Index>(), 1..16_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
            (any::<Index>(), 1..64_usize).prop_map(|(at, times)| Edit::Repeat(at, times)),
        ]
    }

    fn apply(bytes: &mut Vec<u8>, edit: Edit) {
        match edit {
            Edit::Insert(at, new) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, new);
            }
            _ if bytes.is_empty() => {}
            Edit::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Edit::Remove(at, length) => {
                let at = at.index(bytes.len());
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
            Edit::Repeat(at, times) => {
                let at = at.index(bytes.len());
                let tail = bytes[at..(at + 8).min(bytes.len())].repeat(times);
                bytes.splice(at..at, tail);
            }
        }
    }

    /// A bounded walk through every target; the fuzzers go further.
    #[test]
    fn smoke() {
        for target in TARGETS {
            for sample in target.samples {
                (target.run)(sample);
            }
            let samples = prop::sample::select(target.samples);
            let cases = prop_oneof![
                1 => prop::collection::vec(any::<u8>(), 0..256),
                4 => (samples, prop::collection::vec(edit(), 1..6)).prop_map(|(sample, edits)| {
                    let mut bytes = sample.to_vec();
                    edits.into_iter().for_each(|edit| apply(&mut bytes, edit));
                    bytes
                }),
            ];
            let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1000));
            let result = runner.run(&cases, |bytes| {
                (target.run)(&bytes);
                Ok(())
            });
            assert!(result.is_ok(), "{}: {result:?}", target.name);
        }
    }

    #[test]
    fn every_target_has_its_fuzzer() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("the fuzz crate");
        for target in TARGETS {
            let source = folder.join(format!("fuzz_targets/{}.rs", target.name));
            let source = std::fs::read_to_string(source).expect("a fuzz target");
            assert!(source.contains(&format!("fuzzing::{}(bytes)", target.name)), "{}", target.name);
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
        }
        let files = std::fs::read_dir(folder.join("fuzz_targets")).expect("the folder").count();
        assert_eq!(files, TARGETS.len());
    }
}
