//! `pixerve erase`: erases jobs and what was stored of them, once somebody has seen what would go.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;

use super::attempts::Attempts;
use super::client::{Client, Credentials, OwnerArgs, ServerArgs, Surroundings};
use super::confirm::confirmed;
use super::error::CliError;
use super::exit::Exit;
use super::output::{self, OutputArgs, Plain};

/// How often an erasure that goes on is asked about: at first, and at last.
const ASK_AFTER: Duration = Duration::from_secs(1);
const ASK_AFTER_MAX: Duration = Duration::from_secs(15);
/// For how long a server may be gone meanwhile.
const GIVE_UP_AFTER: Duration = Duration::from_mins(5);
/// For the answer to an order: it comes once all is done, or after a while that the server's settings say.
const ORDER_TIMEOUT: Duration = Duration::from_mins(10);

const EXAMPLES: &str = "\
Examples:
  pixerve erase --sub alice --dry-run                              what would go of alice's
  pixerve erase --sub alice                                        erase it, once you have seen it and said yes
  pixerve erase --user shop --sub alice --yes --json               the same for a subject of a registered user, in a script
  pixerve erase --scope admin --job 019a8b4e-7c1d-7e0a-9f00-1d2c3b4a5e6f   one job, whosever it is";

/// What to erase.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct EraseArgs {
    /// This job alone; without it and --hash, everything of --sub
    #[arg(long, value_name = "ID", conflicts_with = "hash")]
    job: Option<String>,
    /// Every job of this hash
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn erase(here: &Surroundings, args: EraseArgs) -> Result<Exit, CliError> {
    let target = target(&args)?;
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !(args.dry_run || args.yes || can_ask) {
        let why =
            "nobody can be asked here whether to erase: --yes does it, --dry-run shows what would go; nothing was done";
        return Err(CliError::Usage(why.to_owned()));
    }
    let client = here.client(&args.server)?;
    let credentials = here.credentials_for(&args.owner)?;

    let dry_run: Vec<(&str, &str)> = target.iter().copied().chain([("dry_run", "true")]).collect();
    let planned = client.json(client.request_as(&credentials, Method::DELETE, "/erase", &dry_run)?).await?;
    if args.dry_run {
        args.output.print(&planned, || summary(&planned))?;
        return Ok(Exit::Done);
    }
    if !args.yes {
        output::warn(format_args!("{}", summary(&planned)));
        if !confirmed("Erase this for good?").await? {
            output::warn(format_args!("nothing was erased"));
            return Ok(Exit::Failed);
        }
    } else if !args.output.json {
        output::warn(format_args!("{}", summary(&planned)));
    }
    let request = client.request_as(&credentials, Method::DELETE, "/erase", &target)?.timeout(ORDER_TIMEOUT);
    let ordered = client.json_of(client.success(request).await?).await?;
    let erased = follow(&client, &credentials, args.output, ordered).await?;
    args.output.print(&erased, || summary(&erased))?;
    Ok(match erased["state"].as_str() {
        Some("done") => Exit::Done,
        _ => Exit::SomeFailed,
    })
}

/// The parameters that say what to erase.
fn target(args: &EraseArgs) -> Result<Vec<(&str, &str)>, CliError> {
    let OwnerArgs { sub, user, .. } = &args.owner;
    if let Some(job) = &args.job {
        return Ok(vec![("job_id", job)]);
    }
    if let Some(hash) = &args.hash {
        return Ok(vec![("hash", hash)]);
    }
    let Some(sub) = sub else {
        return Err(CliError::Usage("say what to erase: --job, --hash or --sub".to_owned()));
    };
    let user = user.as_deref().map(|user| ("user", user));
    Ok([("sub", sub.as_str())].into_iter().chain(user).collect())
}

/// Asks until the erasure goes on no more: what became of it.
async fn follow(
    client: &Client,
    credentials: &Credentials,
    output: OutputArgs,
    ordered: Value,
) -> Result<Value, CliError> {
    let Some(id) = ordered["erasure_id"].as_str().map(str::to_owned) else {
        return Err(client.not_understood("an erasure without `erasure_id`"));
    };
    let path = format!("/erasures/{id}");
    let (mut erasure, mut wait, mut told) = (ordered, ASK_AFTER, String::new());
    let mut attempts = Attempts::for_at_most(GIVE_UP_AFTER);
    while erasure["state"] == "running" {
        // What is written down is carried out, whoever watches.
        let telling = summary(&erasure);
        if telling != told {
            output.remark(format_args!("{telling}"));
            told = telling;
        }
        sleep(wait).await;
        wait = ASK_AFTER_MAX.min(wait * 2);
        match client.json(client.request_as(credentials, Method::GET, &path, &[])?).await {
            Ok(answer) => {
                attempts.succeeded();
                erasure = answer;
            }
            Err(error) => attempts.wait_after(error).await?,
        }
    }
    Ok(erasure)
}

/// What went, or would go.
fn summary(erasure: &Value) -> String {
    let number = |field: &str| erasure["files"][field].as_u64().unwrap_or_default();
    let jobs = erasure["jobs"].as_u64().unwrap_or_default();
    let state = erasure["state"].as_str().unwrap_or_default();
    let verb = match state {
        "dry_run" => "would erase",
        "running" => "erasing",
        _ => "erased",
    };
    let mut lines = match state {
        "dry_run" => format!("{verb} {jobs} jobs, {} files", number("deleted")),
        _ => format!("{}  {verb} {jobs} jobs, {} files", output::state(state), number("deleted")),
    };
    let mut line = |text: &str| {
        // Writing to a string fails never.
        let _ = write!(lines, "\n  {text}");
    };
    if number("missing") > 0 {
        line(&format!("{} were gone already", number("missing")));
    }
    if number("kept") > 0 {
        line(&format!("{} stay: other jobs name the same places", number("kept")));
    }
    for kept in erasure["kept"].as_array().into_iter().flatten() {
        let (location, job) = (kept["location"].as_str(), kept["job_id"].as_str().unwrap_or_default());
        line(&format!("  {} of {}", Plain(location.unwrap_or("a file")), Plain(job)));
    }
    if erasure["versioned"] == true {
        line("a store keeps older versions of what is deleted from it: remove those there");
    }
    if number("left") > 0 {
        line(&format!("{} are left:", number("left")));
    }
    for left in erasure["left"].as_array().into_iter().flatten() {
        let field = |name: &str| left[name].as_str().unwrap_or_default();
        line(&format!("  {} {}: {}", Plain(field("backend")), Plain(field("location")), Plain(field("error"))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stays_and_what_is_left_is_told_by_name() {
        let erasure = json!({
            "state": "incomplete", "jobs": 3, "versioned": true, "files": { "deleted": 11, "missing": 1, "kept": 1, "left": 1 },
            "kept": [{ "location": "/files/a.webp", "job_id": "0190" }],
            "left": [{ "backend": "s3", "location": "s3://b/a.webp", "error": "refused" }]
        });
        let told = console::strip_ansi_codes(&summary(&erasure)).into_owned();
        let lines = [
            "incomplete  erased 3 jobs, 11 files",
            "  1 were gone already",
            "  1 stay: other jobs name the same places",
            "    /files/a.webp of 0190",
            "  a store keeps older versions of what is deleted from it: remove those there",
            "  1 are left:",
            "    s3 s3://b/a.webp: refused",
        ];
        assert_eq!(told, lines.join("\n"));
    }
}
