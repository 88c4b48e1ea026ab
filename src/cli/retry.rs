//! `pixerve retry`: runs failed and cancelled jobs again.

use clap::Args;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::client::{CallerArgs, Client, Credentials, ServerArgs, Surroundings};
use super::error::CliError;
use super::exit::Exit;
use super::moment::Moment;
use super::output::{self, OutputArgs, Plain};
use super::watch::job_parameter;
use crate::auth::Scope;
use crate::clock::{Clock, System};
use crate::error_chain::ErrorChain;

/// The most that a server runs again by one request.
const CALL_MAX: u64 = 1_000;

const EXAMPLES: &str = "\
Examples:
  pixerve retry --sub alice 019a8b4e-7c1d-7e0a-9f00-1d2c3b4a5e6f   a job of alice's
  pixerve retry --scope admin --failed --since 2h --error store_unreachable,store_refused
                                                       all that failed by an outage of a store, whosever they are
  pixerve jobs --state failed --json | jq -r .job_id | xargs pixerve retry   those of a list";

/// Which jobs.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RetryArgs {
    /// Their ids, or hashes, whose newest jobs they are
    #[arg(required_unless_present = "failed", value_name = "JOB")]
    jobs: Vec<String>,
    /// All that have failed, the oldest first
    #[arg(long, conflicts_with = "jobs")]
    failed: bool,
    /// Of those: with one of these errors
    #[arg(long, value_name = "CODE", value_delimiter = ',', requires = "failed", conflicts_with = "jobs")]
    error: Vec<String>,
    /// Of those: accepted then, or later: how long ago (1d, 2h), or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, requires = "failed", conflicts_with = "jobs")]
    since: Option<Moment>,
    /// Of those: accepted before
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, requires = "failed", conflicts_with = "jobs")]
    until: Option<Moment>,
    /// Of those: so many at most
    #[arg(long, value_name = "N", requires = "failed", conflicts_with = "jobs", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    caller: CallerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn retry(here: &Surroundings, args: RetryArgs) -> Result<Exit, CliError> {
    let client = here.client(&args.server)?;
    let credentials = here.credentials(&args.caller, Some(Scope::Manage))?;
    if args.failed {
        return retry_failed(&client, &credentials, &args).await;
    }
    let mut ends = Vec::new();
    for job in &args.jobs {
        let retried = retry_one(&client, &credentials, job).await;
        ends.push(report(args.output, job, &retried)?);
    }
    Ok(Exit::of_all(&ends))
}

async fn retry_one(client: &Client, credentials: &Credentials, job: &str) -> Result<Value, CliError> {
    client.json(client.request_as(credentials, Method::POST, "/retry", &[job_parameter(job)])?).await
}

/// Tells what became of one; how that ends.
fn report(output: OutputArgs, job: &str, retried: &Result<Value, CliError>) -> Result<Exit, CliError> {
    match retried {
        Ok(retried) => {
            output.print(retried, || {
                let text = |field: &str| Plain(retried[field].as_str().unwrap_or_default());
                format!("{}  {}  runs {} again", output::state("pending"), text("job_id"), text("retry_of"))
            })?;
            Ok(Exit::Done)
        }
        Err(error) => {
            output::warn(format_args!("{}: {}", Plain(job), ErrorChain(error)));
            if output.json {
                output::print(&json!({ "job": job, "error": error.to_json() }).to_string())?;
            }
            Ok(error.exit())
        }
    }
}

/// Asks again for as long as there are more: those that have been run again are passed over.
async fn retry_failed(client: &Client, credentials: &Credentials, args: &RetryArgs) -> Result<Exit, CliError> {
    let now = System::new().now();
    let (since, until) = (args.since.map(|at| at.rfc3339(now)), args.until.map(|at| at.rfc3339(now)));
    let (mut count, mut skipped) = (0_u64, 0_u64);
    loop {
        let wanted = args.limit.map_or(CALL_MAX, |limit| CALL_MAX.min(limit.saturating_sub(count)));
        let mut body = json!({ "state": "failed", "limit": wanted });
        for (name, time) in [("since", &since), ("until", &until)] {
            if let Some(time) = time {
                body[name] = json!(time);
            }
        }
        if !args.error.is_empty() {
            body["error"] = json!(args.error);
        }
        let request = client.request_as(credentials, Method::POST, "/retry", &[])?;
        let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        // As many as a thousand, each of which is put on a disk: that takes its time.
        let answer = client.json_of(client.success(request).await?).await?;
        let (Some(now_run), Some(now_skipped)) = (answer["count"].as_u64(), answer["skipped"].as_u64()) else {
            return Err(client.not_understood("an answer without `count` and `skipped`"));
        };
        count += now_run;
        // The same ones again, and those that were run again by the calls before.
        skipped = if count == now_run { now_skipped } else { skipped };
        if now_run < wanted || args.limit == Some(count) {
            break;
        }
    }
    args.output.print(&json!({ "count": count, "skipped": skipped }), || {
        let skipped = match skipped {
            0 => String::new(),
            skipped => format!(
                "; {skipped} not: they were before, their originals or stores are gone, or the same bytes are live"
            ),
        };
        format!("{count} jobs are run again{skipped}")
    })?;
    Ok(Exit::Done)
}
