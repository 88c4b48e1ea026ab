//! What goes through the pipes: a length of four bytes (little end first), that many bytes of JSON, then the payload
//! that the JSON announces.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::encoder::AvifEngine;
use crate::job::VariantSpec;
use crate::pipeline::{PipelineError, PixelLimits};

/// Bytes of JSON. The largest order (64 variants) has some 20 KiB.
const HEADER_BYTES_MAX: u32 = 256 * 1024;

/// What the child is to do. The original follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) variants: Vec<VariantSpec>,
    /// Which of them, in ascending order; the others are there already.
    pub(super) wanted: Vec<usize>,
    pub(super) limits: PixelLimits,
    /// Threads that encode.
    pub(super) threads: usize,
    pub(super) avif_engine: AvifEngine,
    /// Memory that the child may take, in bytes.
    pub(super) memory_max: u64,
    /// Bytes of the original.
    pub(super) source_bytes: u64,
}

/// What the child has to say.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// A variant is done; its file follows.
    Variant {
        /// Into the order's variants.
        index: usize,
        width: u32,
        height: u32,
        bytes: u64,
    },
    /// The original is decoded.
    Decoded,
    /// All are done.
    Done,
    /// It can't be done.
    Failed(PipelineError),
}

/// Writes one message without its payload.
pub(super) fn write(into: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    into.write_all(&encode(message)?)
}

/// One message as bytes, without its payload.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= HEADER_BYTES_MAX).ok_or_else(too_long)?;
    Ok([&length.to_le_bytes()[..], &json].concat())
}

/// Reads one message without its payload; none where the pipe ends before it.
pub(super) fn read<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let mut json = vec![0; checked(length)?];
    from.read_exact(&mut json)?;
    Ok(Some(serde_json::from_slice(&json)?))
}

/// The same, for the server's side.
pub(super) async fn receive<M: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut json = vec![0; checked(length)?];
    from.read_exact(&mut json).await?;
    Ok(serde_json::from_slice(&json)?)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length);
    if length > HEADER_BYTES_MAX { Err(too_long()) } else { Ok(length as usize) }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message of more than {HEADER_BYTES_MAX} bytes"))
}
