//! Takes what a child makes. The child may be controlled by whoever made the original: nothing that it says is believed
//! that its request doesn't allow.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout_at};

use super::protocol::{self, Report};
use crate::job::{Placeholder, TraceContext};
use crate::pipeline::{PipelineError, RenderRequest, Rendered, StepMetrics, check_header};
use crate::telemetry::trace_past;

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

/// To whom the times of steps are told.
#[derive(Clone, Copy)]
pub(super) struct StepsTold<'a> {
    pub(super) metrics: &'a StepMetrics,
    /// The span that they are parts of.
    pub(super) trace: Option<&'a TraceContext>,
}

/// Sends each variant to `deliver` as it comes, and notes its index in `delivered`, until the child reports its end: that
/// all are made, or why they can't be.
pub(super) async fn receive_variants(
    output: &mut BufReader<ChildStdout>,
    request: &RenderRequest,
    decode_timeout: Duration,
    steps: StepsTold<'_>,
    deliver: &Sender<(usize, Rendered)>,
    delivered: &mut Vec<usize>,
) -> Result<Result<Option<Placeholder>, PipelineError>, ProtocolError> {
    let mut expected = ExpectedVariants::of(request);
    let mut decode_deadline = Some(Instant::now() + decode_timeout);
    let mut are_steps_told = false;
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
            // Seconds that it invents do no harm but to a graph; once is enough to tell them.
            Report::Steps(took) if !are_steps_told => {
                are_steps_told = true;
                for (step, took, ended_ago) in took {
                    let [took, ended_ago] = [took, ended_ago].map(|micros| Duration::from_micros(micros.into()));
                    steps.metrics.observe(step, took);
                    trace_past(format_args!("{step}"), steps.trace, took, ended_ago);
                }
            }
            Report::Steps(_) => return Err(ProtocolError::Violation("it told its times twice".to_owned())),
            Report::Variant { index, width, height, bytes, warnings } => {
                expected.check_off(index, (width, height), bytes)?;
                let bytes = read_file(output, bytes).await?;
                check_header(&bytes, request.variants[index].format, request.outputs[index]).map_err(|what| {
                    ProtocolError::Violation(format!("variant {index} is not what was asked for: {what}"))
                })?;
                delivered.push(index);
                // Nobody receives once the job is stopped.
                let _ = deliver.send((index, Rendered { width, height, bytes, warnings })).await;
            }
            Report::Done(Some(placeholder)) if !request.placeholder || !placeholder.is_well_formed() => {
                return Err(ProtocolError::Violation("its placeholder is none, or not wanted".to_owned()));
            }
            Report::Done(placeholder) if expected.is_complete() => return Ok(Ok(placeholder)),
            Report::Done(_) => {
                return Err(ProtocolError::Violation("it ended before all variants were there".to_owned()));
            }
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
}

impl<'a> ExpectedVariants<'a> {
    fn of(request: &'a RenderRequest) -> Self {
        let delivered = (0..request.variants.len()).map(|index| !request.is_wanted(index)).collect();
        Self { request, delivered }
    }

    /// Counts a variant as delivered, unless it is not wanted, came before, is of another size than was asked for, or is
    /// larger than a file of that can be.
    fn check_off(&mut self, index: usize, (width, height): (u32, u32), bytes: u64) -> Result<(), ProtocolError> {
        match self.delivered.get_mut(index) {
            Some(delivered) if !*delivered => *delivered = true,
            _ => return Err(ProtocolError::Violation(format!("variant {index} is not wanted, or came twice"))),
        }
        let output = self.request.outputs[index];
        if (width, height) != (output.width, output.height) || bytes > output.file_bytes_max() {
            return Err(ProtocolError::Violation(format!("a file of {bytes} bytes for {width} x {height} pixels")));
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.delivered.iter().all(|delivered| *delivered)
    }
}
