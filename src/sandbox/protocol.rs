//! What goes through the pipes: a length of four bytes (little-endian), that many bytes of JSON, then the payload that the
//! JSON announces. To the child: a [`RenderRequest`](crate::pipeline::RenderRequest) and the original. From it: [`Report`]s.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::job::{Placeholder, Warnings};
use crate::pipeline::{PipelineError, RenderStep};

/// Bytes of JSON. The largest request (64 variants) has some 20 KiB.
const HEADER_BYTES_MAX: u32 = 256 * 1024;

/// Of a report, whose words may end up in a record: the longest has a decoder's message.
const REPORT_BYTES_MAX: u32 = 16 * 1024;

/// What the child sends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// A variant is made; its file follows.
    Variant {
        /// Into the request's variants.
        index: usize,
        width: u32,
        height: u32,
        bytes: u64,
        warnings: Warnings,
    },
    /// The original is decoded.
    Decoded,
    /// What single steps took, and how long ago they ended, in microseconds.
    Steps(Vec<(RenderStep, u32, u32)>),
    /// All wanted variants are made, and what stands in the picture's place.
    Done(Option<Placeholder>),
    /// They can't be made.
    Failed(PipelineError),
}

/// Writes one message without its payload.
pub(super) fn write(into: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    into.write_all(&encode(message)?)
}

/// One message as bytes, without its payload.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len())
        .ok()
        .filter(|length| *length <= HEADER_BYTES_MAX)
        .ok_or_else(|| too_long(HEADER_BYTES_MAX))?;
    Ok([&length.to_le_bytes()[..], &json].concat())
}

/// Reads one message without its payload; none where the pipe ends before it.
pub(super) fn read<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let mut json = vec![0; json_bytes(length, HEADER_BYTES_MAX)?];
    from.read_exact(&mut json)?;
    Ok(Some(serde_json::from_slice(&json)?))
}

/// A report, without blocking; a pipe that ends is an error.
pub(super) async fn receive<M: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut json = vec![0; json_bytes(length, REPORT_BYTES_MAX)?];
    from.read_exact(&mut json).await?;
    Ok(serde_json::from_slice(&json)?)
}

fn json_bytes(length: [u8; 4], max: u32) -> io::Result<usize> {
    let length = u32::from_le_bytes(length);
    if length > max { Err(too_long(max)) } else { Ok(length as usize) }
}

fn too_long(max: u32) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message of more than {max} bytes"))
}
