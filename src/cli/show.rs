//! `pixerve show`: how a job is.

use std::fmt::Write;

use clap::Args;
use serde_json::Value;

use super::client::{ServerArgs, Surroundings};
use super::error::CliError;
use super::exit::Exit;
use super::output::{self, OutputArgs, Plain};
use super::watch::status;

const EXAMPLES: &str = "\
Examples:
  pixerve show 019a8b4e-7c1d-7e0a-9f00-1d2c3b4a5e6f   by its id, as the upload was answered
  pixerve show --json $HASH | jq .error                the newest job of a hash, for a script";

/// Which job.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// The job's id, or a hash, whose newest job it is
    job: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn show(here: &Surroundings, args: ShowArgs) -> Result<Exit, CliError> {
    let status = status(&here.client(&args.server)?, &args.job).await?;
    args.output.print(&status, || lines(&status))?;
    Ok(Exit::Done)
}

/// A job, a line for each thing that there is to say.
fn lines(status: &Value) -> String {
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let mut lines = format!("{}  {}", output::state(text("state")), Plain(text("job_id")));
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a string fails never.
            let _ = write!(lines, "\n  {name:<9}{}", Plain(value));
        }
    };
    line("hash", text("hash"));
    let progress = &status["progress"];
    line("files", &format!("{} of {}", progress["done"], progress["total"]));
    line("attempt", &status["attempt"].to_string());
    line("created", text("created_at"));
    line("started", text("started_at"));
    line("finished", text("finished_at"));
    line("error", text("error"));
    line("code", text("error_code"));
    for file in status["files"].as_array().into_iter().flatten() {
        for place in file["stored"].as_array().into_iter().flatten() {
            let location = place["location"].as_str().unwrap_or_default();
            // What is no picture has no sides.
            let sides = match (&file["width"], &file["height"]) {
                (width, height) if *width != 0 => format!("{width}x{height}, "),
                _ => String::new(),
            };
            line("stored", &format!("{location} {sides}{} bytes", file["bytes"]));
        }
    }
    lines
}
