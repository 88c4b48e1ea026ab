//! Takes what a child makes. The child may be controlled by whoever made the original: nothing that it says is believed
//! that its request doesn't allow.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::time::{Instant, timeout_at};

use super::protocol::{self, Report};
use crate::pipeline::{PipelineError, RenderRequest, Rendered};

/// Bytes of a file beyond what its pixels could take uncompressed: headers, and formats that grow.
const FILE_BYTES_SLACK: u64 = 1024 * 1024;

/// Bytes of a pixel before it is compressed.
const BYTES_PER_PIXEL_MAX: u64 = 4;

/// How a child fails its protocol.
#[derive(Debug)]
pub(super) enum ProtocolError {
    /// Its output ended before its last report.
    Eof,
    /// It sent what makes no sense.
    Violation(String),
}

impl From<io::Error> for ProtocolError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Eof,
            _ => Self::Violation(error.to_string()),
        }
    }
}

/// Hands each variant to `deliver` as it comes, until the child reports its end: that all are made, or why they can't be.
pub(super) async fn receive_variants(
    output: &mut BufReader<ChildStdout>,
    request: &RenderRequest,
    decode_timeout: Duration,
    mut deliver: impl FnMut(usize, Rendered),
) -> Result<Result<(), PipelineError>, ProtocolError> {
    let mut expected = ExpectedVariants::of(request);
    let mut decode_deadline = Some(Instant::now() + decode_timeout);
    loop {
        let receiving = protocol::receive(output);
        let received = match decode_deadline {
            None => receiving.await,
            Some(deadline) => match timeout_at(deadline, receiving).await {
                Ok(received) => received,
                Err(_) => return Ok(Err(PipelineError::DecodeTimeout { secs: decode_timeout.as_secs() })),
            },
        };
        match received? {
            Report::Decoded => decode_deadline = None,
            Report::Variant { index, width, height, bytes } => {
                expected.check_off(index, (width, height), bytes)?;
                let bytes = read_file(output, bytes).await?;
                deliver(index, Rendered { width, height, bytes });
            }
            Report::Done if expected.is_complete() => return Ok(Ok(())),
            Report::Done => return Err(ProtocolError::Violation("it ended before all variants were there".to_owned())),
            Report::Failed(error) => return Ok(Err(error)),
        }
    }
}

async fn read_file(output: &mut BufReader<ChildStdout>, bytes: u64) -> Result<Vec<u8>, ProtocolError> {
    let mut file = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    match output.take(bytes).read_to_end(&mut file).await {
        Ok(_) if file.len() as u64 == bytes => Ok(file),
        _ => Err(ProtocolError::Eof),
    }
}

/// What a request still allows its child to send.
struct ExpectedVariants<'a> {
    request: &'a RenderRequest,
    /// By index into the request's variants; those that are not wanted count as delivered.
    delivered: Vec<bool>,
    /// For all files together.
    bytes_left: u64,
}

impl<'a> ExpectedVariants<'a> {
    fn of(request: &'a RenderRequest) -> Self {
        let delivered = (0..request.variants.len()).map(|index| !request.is_wanted(index)).collect();
        let bytes_left = request.limits.output_max.saturating_mul(BYTES_PER_PIXEL_MAX);
        Self { request, delivered, bytes_left }
    }

    /// Counts a variant as delivered, unless it is not wanted, came before, or is larger than it can be.
    fn check_off(&mut self, index: usize, (width, height): (u32, u32), bytes: u64) -> Result<(), ProtocolError> {
        match self.delivered.get_mut(index) {
            Some(delivered) if !*delivered => *delivered = true,
            _ => return Err(ProtocolError::Violation(format!("variant {index} is not wanted, or came twice"))),
        }
        // An animation has as many pixels more as it has frames.
        let still = u64::from(width) * u64::from(height) * BYTES_PER_PIXEL_MAX;
        let bytes_max =
            if self.request.variants[index].animated { self.bytes_left } else { still.min(self.bytes_left) };
        if width == 0 || height == 0 || bytes > bytes_max + FILE_BYTES_SLACK {
            return Err(ProtocolError::Violation(format!("a file of {bytes} bytes for {width} x {height} pixels")));
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.delivered.iter().all(|delivered| *delivered)
    }
}
