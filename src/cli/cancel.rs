//! `pixerve cancel`: stops a job for good.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::client::{CallerArgs, ServerArgs, Surroundings};
use super::error::CliError;
use super::exit::Exit;
use super::output::{self, OutputArgs, Plain};
use super::watch::job_parameter;

const EXAMPLES: &str = "\
Examples:
  pixerve cancel --sub alice 019a8b4e-7c1d-7e0a-9f00-1d2c3b4a5e6f   a job of alice's
  pixerve cancel --scope admin 019a8b4e-7c1d-7e0a-9f00-1d2c3b4a5e6f  whosever it is";

/// Which job, as whom.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CancelArgs {
    /// The job's id, or a hash, whose newest job it is
    job: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    caller: CallerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn cancel(here: &Surroundings, args: CancelArgs) -> Result<Exit, CliError> {
    let client = here.client(&args.server)?;
    // Whoever owns a job cancels it without any scope.
    let credentials = here.credentials(&args.caller, None)?;
    let parameter = job_parameter(&args.job);
    client.json(client.request_as(&credentials, Method::DELETE, "/cancel", &[parameter])?).await?;
    args.output.print(&json!({ parameter.0: args.job, "state": "cancelled" }), || {
        format!("{}  {}", output::state("cancelled"), Plain(&args.job))
    })?;
    Ok(Exit::Done)
}
