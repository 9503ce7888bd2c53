//! The GIMP link: a plug-in that GIMP starts by itself and that speaks with the agent by a Unix socket, and the messages
//! that they exchange. It holds no policy: the agent says what is done when.
//!
//! A message is its length as `u32`, little-endian, at most [`MAX_MESSAGE`], then JSON. Requests are numbered by who asks
//! and answered in order:
//!
//! ```text
//! {"id":1,"do":"hello","version":1}          {"id":1,"ok":{"version":1,"gimp":"2.10.34","process":77}}
//! {"id":2,"do":"copy","image":9,"to":"/a"}   {"id":2,"error":{"code":"noImage","message":"GIMP has no such image."}}
//! ```
//! `golden/link.json` has one of each; tests hold both sides to it.

use serde::{Deserialize, Serialize};

/// What this side speaks. Changes when the other would misunderstand.
pub const VERSION: u32 = 1;
/// Largest message, bytes.
pub const MAX_MESSAGE: u32 = 1 << 20;
/// Names the socket to the plug-in. Its folder must be closed to others.
pub const SOCKET_VARIABLE: &str = "GIMP_LINK_SOCKET";
/// Of the plug-in, in GIMP: running it starts a link where none is.
pub const PROCEDURE: &str = "extension-gimp-link";
/// The plug-in's file, in a folder of the same name in one of GIMP's plug-in folders.
pub const FILE_NAME: &str = "gimp-link";

/// The plug-in for a GIMP of this major version; None where this was built without its library.
#[must_use]
pub fn program(gimp_major: u32) -> Option<&'static [u8]> {
    let program: &[u8] = match gimp_major {
        2 => include_bytes!(concat!(env!("OUT_DIR"), "/gimp-link-2")),
        3 => include_bytes!(concat!(env!("OUT_DIR"), "/gimp-link-3")),
        _ => &[],
    };
    (!program.is_empty()).then_some(program)
}

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    pub id: u64,
    #[serde(flatten)]
    pub request: Request,
}

/// All paths are absolute. Sizes are in pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum Request {
    /// Comes first on each connection. Answer: `Hello`, whatever the version.
    Hello { version: u32 },
    /// Answer: `Nothing`. Says only that the link lives.
    Ping,
    /// Answer: `List`.
    List,
    /// Writes an XCF file; the image stays as it is, its file and dirty flag, too. Answer: `Nothing`.
    Copy { image: i64, to: String },
    /// Writes a PNG file. `size`: of the longer side, 16..=1024. Answer: `Thumbnail`.
    Thumbnail { image: i64, to: String, size: u32 },
    /// Opens a copy, shows it, and gives it `file` as its own; it counts as unsaved. Answer: `Recovered`.
    Recover { from: String, file: Option<String> },
    /// Writes what is seen of the image in the format that the file's name ends with; as XCF, all of it. `quality`: of JPEG
    /// and WebP, percent, 90 if it is not given. `scale`: percent of its size, 1..=200. Answer: `Nothing`.
    Export {
        image: i64,
        to: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quality: Option<u8>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<u16>,
    },
    /// Writes the image as XCF, or compressed XCF as the name of `by` says; once that is on the disk it becomes `to`, which
    /// is the image's own file then, and the image counts as saved. `by` is a new file, gone afterwards, on the same file
    /// system. One that could not be written is unsaved as before, and no undo makes it a saved one; what is painted after
    /// it was written is unsaved. Answer: `Nothing`.
    Save {
        image: i64,
        to: String,
        by: String,
        /// Whether a file that is there already may go.
        replace: bool,
    },
    /// Puts a file on top of the image, as a layer. Answer: `Nothing`.
    Layer { image: i64, from: String },
    /// Ends GIMP without asking its user. An answer may not come.
    Quit,
}

/// An answer as it comes; `ok` depends on the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<T> {
    pub id: u64,
    #[serde(flatten)]
    pub result: Outcome<T>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome<T> {
    Ok(T),
    Error(Refusal),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `badRequest`, `noHello`, `noImage`, `exists`: a file is in the way, or `failed`: GIMP could not.
    pub code: String,
    /// For people who look for a fault: may name files.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    /// e.g. "2.10.34"
    pub gimp: String,
    /// GIMP's process id.
    pub process: i32,
}

/// At most 128 images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    pub images: Vec<Image>,
}

/// An image that GIMP has open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Of this run of GIMP.
    pub id: i64,
    /// As GIMP shows it, at most 2000 bytes: "a.xcf", "[photo]", "[Untitled]".
    pub name: String,
    /// Whether there are unsaved changes.
    pub dirty: bool,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Layers and groups of layers that are in no group.
    pub layers: u32,
    /// URI of its own XCF file.
    pub file: Option<String>,
    /// URI of the file it came from, in another format.
    pub imported: Option<String>,
    /// URI of the file it was exported to last.
    pub exported: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnail {
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    pub image: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    fn round_trip<T: Serialize + DeserializeOwned>(value: &Value) -> Value {
        let parsed: T = serde_json::from_value(value.clone()).expect("this side understands it");
        serde_json::to_value(parsed).expect("serialises")
    }

    #[test]
    fn this_side_speaks_as_the_golden_messages_do() {
        let golden: Vec<Value> = serde_json::from_str(include_str!("../golden/link.json")).expect("JSON");
        let mut kinds = Vec::new();
        for exchange in &golden {
            let (asked, answered) = (&exchange["request"], &exchange["answer"]);
            assert_eq!(&round_trip::<Numbered>(asked), asked);
            let same = match asked["do"].as_str().expect("a request") {
                "hello" => round_trip::<Answer<Hello>>(answered),
                "list" => round_trip::<Answer<List>>(answered),
                "thumbnail" => round_trip::<Answer<Thumbnail>>(answered),
                "recover" => round_trip::<Answer<Recovered>>(answered),
                _ => round_trip::<Answer<Nothing>>(answered),
            };
            assert_eq!(&same, answered);
            kinds.push(asked["do"].as_str().expect("a request"));
        }
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, ["copy", "export", "hello", "layer", "list", "ping", "quit", "recover", "save", "thumbnail"]);
    }

    proptest! {
        /// Whoever answers can be anything: it is refused or understood.
        #[test]
        fn nonsense_is_no_answer(text in "\\PC{0,200}") {
            let _ = serde_json::from_str::<Answer<List>>(&text);
            let _ = serde_json::from_str::<Answer<Hello>>(&text);
        }
    }
}
