//! The child's side: shut the doors; take an order, work, hand over; and again, until no more comes.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use parking_lot::Mutex;

use super::confine;
use super::protocol::{self, Order, Report};
use crate::encoder::{Avif, Registry};
use crate::pipeline::{Engine, PipelineError, Rendered};

/// The hidden subcommand under which the binary is a child.
pub const SUBCOMMAND: &str = "render-child";

/// Behind the subcommand: report how well the child is confined, and end.
pub(super) const PROBE: &str = "probe";

/// What the child does: everything, between its start and its end.
#[must_use]
pub fn child_main(arguments: &[String]) -> ExitCode {
    let outcome = confine::enter().and_then(|layers| match arguments {
        [probe] if probe == PROBE => protocol::write(&mut io::stdout().lock(), &confine::probe(layers)),
        _ => work(),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let output = Mutex::new(io::stdout());
    let mut engine = None;
    while let Some(order) = protocol::read::<Order>(&mut input)? {
        confine::cap_memory(order.memory_max)?;
        let mut source = Vec::new();
        source
            .try_reserve_exact(usize::try_from(order.source_bytes).unwrap_or(usize::MAX))
            .map_err(io::Error::other)?;
        (&mut input).take(order.source_bytes).read_to_end(&mut source)?;
        let report = match render(source, &order, &mut engine, &output) {
            Ok(()) => Report::Done,
            Err(error) => Report::Failed(error),
        };
        let mut output = output.lock();
        protocol::write(&mut *output, &report)?;
        output.flush()?;
    }
    Ok(())
}

/// An engine, and the number of its threads.
type Equipped = Option<(usize, Engine)>;

fn render(
    source: Vec<u8>,
    order: &Order,
    equipped: &mut Equipped,
    output: &Mutex<impl Write + Send>,
) -> Result<(), PipelineError> {
    let engine = match equipped {
        // The rest of what an engine is made of is the server's and never changes.
        Some((threads, engine)) if *threads == order.threads => engine,
        other => &mut other.insert((order.threads, engine_for(order)?)).1,
    };
    let heard = |told: io::Result<()>| {
        // Whoever reads is gone: the server has died or given up, and nobody wants what is left.
        if told.is_err() {
            std::process::exit(1);
        }
    };
    let decoded = || heard(say_decoded(output));
    let deliver = |index, file: Rendered| heard(hand_over(index, &file, output));
    let wanted = |index| order.wanted.binary_search(&index).is_ok();
    engine.render_wanted(source, &order.variants, &wanted, &|| false, &decoded, &deliver)
}

fn engine_for(order: &Order) -> Result<Engine, PipelineError> {
    let registry = Registry::built_in().with(Arc::new(Avif::new(order.avif_engine)));
    Engine::with_registry(order.threads, order.limits, registry)
        .map_err(|error| PipelineError::Panicked { detail: format!("the encoding threads can't be started: {error}") })
}

fn say_decoded(output: &Mutex<impl Write>) -> io::Result<()> {
    let mut output = output.lock();
    protocol::write(&mut *output, &Report::Decoded)?;
    output.flush()
}

fn hand_over(index: usize, file: &Rendered, output: &Mutex<impl Write>) -> io::Result<()> {
    let Rendered { width, height, bytes } = file;
    let mut output = output.lock();
    protocol::write(
        &mut *output,
        &Report::Variant { index, width: *width, height: *height, bytes: bytes.len() as u64 },
    )?;
    output.write_all(bytes)?;
    output.flush()
}
