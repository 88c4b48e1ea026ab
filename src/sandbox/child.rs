//! The child's side: confines itself, then takes requests and sends back what it makes until no more come.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::protocol::{self, Report};
use super::{confine, probe};
use crate::clock::{Clock, System};
use crate::encoder::{Avif, Registry};
use crate::job::Placeholder;
use crate::pipeline::{Engine, PipelineError, RenderRequest, RenderStep, Rendered, StepTimer};

/// The hidden subcommand under which the binary is a child.
pub const SUBCOMMAND: &str = "render-child";

/// The argument of the subcommand that has the child report how well it is confined, and end.
pub(super) const PROBE: &str = "probe";

/// A child's whole run.
#[must_use]
pub fn child_main(arguments: &[String]) -> ExitCode {
    let outcome = confine::enter().and_then(|layers| match arguments {
        [probe] if probe == PROBE => protocol::write(&mut io::stdout().lock(), &probe::probe(layers)),
        _ => serve_requests(),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve_requests() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let output = Mutex::new(io::stdout());
    let (mut engine, mut is_capped, times) = (None, false, Arc::new(StepTimes::default()));
    while let Some(request) = protocol::read::<RenderRequest>(&mut input)? {
        // Only once: the cap can't be raised again, and every later request needs no more than the first.
        if !is_capped {
            confine::cap_memory(request.admission.bytes)?;
            is_capped = true;
        }
        let source = read_source(&mut input, request.source_bytes)?;
        let rendered = render(source, &request, &mut engine, &times, &output);
        send(&Report::Steps(times.take()), &[], &output)?;
        let report = match rendered {
            Ok(placeholder) => Report::Done(placeholder),
            Err(error) => Report::Failed(error),
        };
        send(&report, &[], &output)?;
    }
    Ok(())
}

fn read_source(input: &mut impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut source = Vec::new();
    source.try_reserve_exact(usize::try_from(bytes).unwrap_or(usize::MAX)).map_err(io::Error::other)?;
    input.take(bytes).read_to_end(&mut source)?;
    Ok(source)
}

/// The engine of the request before, and how many threads it has.
type LastEngine = Option<(usize, Engine)>;

fn render(
    source: Vec<u8>,
    request: &RenderRequest,
    last_engine: &mut LastEngine,
    times: &Arc<StepTimes>,
    output: &Mutex<impl Write + Send>,
) -> Result<Option<Placeholder>, PipelineError> {
    let threads = request.admission.threads;
    let engine = match last_engine {
        // Limits and codecs are the server's settings, which are the same in every request.
        Some((of, engine)) if *of == threads => engine,
        other => &mut other.insert((threads, engine_for(request)?.timed_by(times.clone()))).1,
    };
    let exit_if_failed = |sent: io::Result<()>| {
        // The server has died or given the job up: nobody wants what is left.
        if sent.is_err() {
            std::process::exit(1);
        }
    };
    let decoded = || exit_if_failed(send(&Report::Decoded, &[], output));
    let deliver = |index, file: Rendered| {
        let Rendered { width, height, bytes, warnings } = file;
        let report = Report::Variant { index, width, height, bytes: bytes.len() as u64, warnings };
        exit_if_failed(send(&report, &bytes, output));
    };
    let wanted = |index| request.is_wanted(index);
    if !request.placeholder {
        return engine.render(source, &request.variants, &wanted, &|| false, &decoded, &deliver).map(|()| None);
    }
    engine.render_with_placeholder(source, &request.variants, &wanted, &|| false, &decoded, &deliver)
}

fn engine_for(request: &RenderRequest) -> Result<Engine, PipelineError> {
    let registry = Registry::built_in().with(Arc::new(Avif::new(request.avif_engine)));
    Engine::new(request.admission.threads, request.limits, registry)
        .map_err(|error| PipelineError::NoThreads { detail: error.to_string() })
}

/// Steps that are told of one job; the largest has 64 variants.
const STEPS_MAX: usize = 256;

/// What the steps of the present job took.
#[derive(Debug, Default)]
struct StepTimes {
    clock: System,
    /// With the times at which they ended.
    took: Mutex<Vec<(RenderStep, Duration, Duration)>>,
}

impl StepTimes {
    /// Each step with what it took and how long ago it ended, in microseconds.
    fn take(&self) -> Vec<(RenderStep, u32, u32)> {
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let (now, took) = (self.now(), std::mem::take(&mut *self.took.lock()));
        took.into_iter().map(|(step, time, ended)| (step, micros(time), micros(now.saturating_sub(ended)))).collect()
    }
}

impl StepTimer for StepTimes {
    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    fn took(&self, step: RenderStep, time: Duration) {
        let mut took = self.took.lock();
        if took.len() < STEPS_MAX {
            took.push((step, time, self.now()));
        }
    }
}

/// Sends one report and the bytes that it announces.
fn send(report: &Report, payload: &[u8], output: &Mutex<impl Write>) -> io::Result<()> {
    let mut output = output.lock();
    protocol::write(&mut *output, report)?;
    output.write_all(payload)?;
    output.flush()
}
