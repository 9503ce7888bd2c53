//! How what a browser says in messages travels between gateway and agent.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::stream::MAX_TO_CLIENT;
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

/// Most bytes of the picture in one message, where the agent sends no messages.
pub(super) const CHUNK: usize = 64 * 1024;

/// Longest record from an agent, bytes, held whole for each viewer: a screen of 3840x2160 that does not compress, and
/// room. An agent shares its sandbox with the user's programs: what is longer is taken for an attempt on the server's
/// memory.
pub(super) const RECORD_LIMIT: usize = 32 << 20;
const _: () = assert!(RECORD_LIMIT <= MAX_TO_CLIENT && RECORD_LIMIT > 3840 * 2160 * 3 + CHUNK);

/// The agent's bytes are one stream; where messages end means nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unframed;

impl Decoder for Unframed {
    type Item = BytesMut;
    type Error = io::Error;

    fn decode(&mut self, read: &mut BytesMut) -> io::Result<Option<BytesMut>> {
        if read.is_empty() {
            // For the read that follows.
            read.reserve(CHUNK);
            return Ok(None);
        }
        Ok(Some(read.split()))
    }
}

impl Encoder<Bytes> for Unframed {
    type Error = io::Error;

    fn encode(&mut self, message: Bytes, out: &mut BytesMut) -> io::Result<()> {
        out.extend_from_slice(&message);
        Ok(())
    }
}

/// Each message is one record: its length as `u32`, little-endian, then its bytes.
pub(super) fn records() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().little_endian().length_field_length(4).max_frame_length(RECORD_LIMIT).new_codec()
}
