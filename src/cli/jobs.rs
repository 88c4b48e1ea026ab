//! `pixerve jobs`: which jobs there are.

use std::time::Duration;

use clap::Args;
use console::Term;
use reqwest::Method;
use serde_json::Value;
use tokio::signal::ctrl_c;
use tokio::time::sleep;

use super::attempts::Attempts;
use super::client::{Client, Credentials, OwnerArgs, ServerArgs, Surroundings};
use super::error::CliError;
use super::exit::Exit;
use super::moment::Moment;
use super::output::{self, OutputArgs, state_style};
use super::table::{Cell, Column, Narrow, table, terminal_width};
use crate::clock::{Clock, System, Timestamp};
use crate::error_chain::ErrorChain;

/// The most that a server puts into a page.
const PAGE_MAX: u64 = 200;
const REFRESH_EVERY: Duration = Duration::from_secs(2);
/// For how long a server may be gone that is watched.
const GIVE_UP_AFTER: Duration = Duration::from_mins(5);

const COLUMNS: [Column; 6] = [
    Column { head: "STATE", narrow: Narrow::Stays },
    Column { head: "JOB", narrow: Narrow::Stays },
    Column { head: "AGE", narrow: Narrow::Goes(2) },
    Column { head: "FILES", narrow: Narrow::Goes(1) },
    Column { head: "TRY", narrow: Narrow::Goes(0) },
    Column { head: "WHAT", narrow: Narrow::Cut },
];

const EXAMPLES: &str = "\
Examples:
  pixerve jobs --scope admin --state failed --since 1d   what has failed since yesterday, whosever it is
  pixerve jobs --sub alice --watch                        alice's jobs, as they go on
  pixerve jobs --user shop --waiting-for store            what of the shop's waits for a store
  pixerve jobs --state failed --limit 1000 --json | jq -r .error_code | sort | uniq -c
                                                          why jobs failed, counted";

/// Which jobs.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct JobsArgs {
    /// In this state
    #[arg(long, value_parser = ["pending", "processing", "completed", "failed", "cancelled"])]
    state: Option<String>,
    /// Accepted then, or later: how long ago (1d, 2h), or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Accepted before
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// With the error of this code, or that of the last attempt
    #[arg(long, value_name = "CODE")]
    error_code: Option<String>,
    /// With files for the store of this access key
    #[arg(long, value_name = "KEY")]
    store: Option<String>,
    /// Live ones that wait for this
    #[arg(long, value_parser = ["store", "memory", "turn"])]
    waiting_for: Option<String>,
    /// Jobs at most, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on showing them until interrupted; with --json each again when it has changed
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn jobs(here: &Surroundings, args: JobsArgs) -> Result<Exit, CliError> {
    let client = here.client(&args.server)?;
    let credentials = here.credentials_for(&args.owner)?;
    if args.watch {
        return tokio::select! {
            watched = watch(&client, &credentials, &args) => watched,
            _ = ctrl_c() => Ok(Exit::Done),
        };
    }
    let Listed { jobs, has_more } = list(&client, &credentials, &args).await?;
    if args.output.json {
        jobs.iter().try_for_each(|job| output::print(&job.to_string()))?;
    } else if jobs.is_empty() {
        args.output.remark(format_args!("no such jobs"));
    } else {
        output::print(&shown(&jobs, System::new().now(), terminal_width()))?;
    }
    if has_more {
        args.output.remark(format_args!("there are more; --limit shows them"));
    }
    Ok(Exit::Done)
}

/// Shows them again and again: on a terminal in the same place, elsewhere whenever something has changed.
async fn watch(client: &Client, credentials: &Credentials, args: &JobsArgs) -> Result<Exit, CliError> {
    let terminal = Term::stdout();
    let is_in_place = terminal.is_term() && !args.output.json;
    let (mut attempts, mut before) = (Attempts::for_at_most(GIVE_UP_AFTER), Vec::new());
    loop {
        match list(client, credentials, args).await {
            Ok(Listed { jobs, .. }) => {
                attempts.succeeded();
                if args.output.json {
                    let changed = jobs.iter().filter(|job| !before.contains(*job));
                    changed.into_iter().try_for_each(|job| output::print(&job.to_string()))?;
                } else if is_in_place || jobs != before {
                    if is_in_place {
                        terminal.clear_screen().map_err(CliError::Output)?;
                    }
                    output::print(&shown(&jobs, System::new().now(), terminal_width()))?;
                }
                before = jobs;
            }
            Err(error) => {
                if error.may_pass().is_some() {
                    args.output.remark(format_args!("{}", ErrorChain(&error)));
                }
                attempts.wait_after(error).await?;
            }
        }
        sleep(REFRESH_EVERY).await;
    }
}

struct Listed {
    jobs: Vec<Value>,
    has_more: bool,
}

/// All that are asked for, page by page. A page may be short, or empty, before the last one.
async fn list(client: &Client, credentials: &Credentials, args: &JobsArgs) -> Result<Listed, CliError> {
    let now = System::new().now();
    let (since, until) = (args.since.map(|at| at.rfc3339(now)), args.until.map(|at| at.rfc3339(now)));
    let given = [
        ("state", &args.state),
        ("sub", &args.owner.sub),
        ("user", &args.owner.user),
        ("since", &since),
        ("until", &until),
        ("error_code", &args.error_code),
        ("store", &args.store),
        ("waiting_for", &args.waiting_for),
    ];
    let given: Vec<(&str, &str)> = given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let (mut jobs, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let left = args.limit.saturating_sub(jobs.len() as u64);
        let limit = left.min(PAGE_MAX).to_string();
        let mut query = given.clone();
        query.push(("limit", &limit));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut page = client.json(client.request_as(credentials, Method::GET, "/jobs", &query)?).await?;
        let Value::Array(found) = page["jobs"].take() else {
            return Err(client.not_understood("a page without `jobs`"));
        };
        jobs.extend(found);
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || jobs.len() as u64 >= args.limit {
            return Ok(Listed { jobs, has_more: cursor.is_some() });
        }
    }
}

fn shown(jobs: &[Value], now: Timestamp, width: Option<usize>) -> String {
    let rows: Vec<_> = jobs.iter().map(|job| row(job, now)).collect();
    table(&COLUMNS, &rows, width)
}

fn row(job: &Value, now: Timestamp) -> Vec<Cell> {
    let text = |field: &str| job[field].as_str().unwrap_or_default();
    let age = Timestamp::parse_rfc3339(text("created_at")).map_or_else(String::new, |at| age(now.since(at)));
    let progress = &job["progress"];
    vec![
        Cell::styled(text("state"), state_style(text("state"))),
        Cell::new(text("job_id")),
        Cell::new(&age),
        Cell::new(&format!("{}/{}", progress["done"], progress["total"])),
        Cell::new(&job["attempt"].to_string()),
        Cell::new(&what(job)),
    ]
}

/// What else there is to say of a job, in a line.
fn what(job: &Value) -> String {
    if let Some(next) = job["retried_as"].as_str() {
        return format!("run again as {next}");
    }
    if let Some(store) = job["waiting_for"].get(0) {
        let field = |name: &str| store[name].as_str().unwrap_or_default();
        return format!("waits for {} {}, {}", field("backend"), field("access_key"), field("reason"));
    }
    match (job["error_code"].as_str(), job["error"].as_str()) {
        (Some(code), Some(error)) => format!("{code}: {error}"),
        (code, error) => code.or(error).unwrap_or_default().to_owned(),
    }
}

/// The two largest units of a time.
fn age(age: Duration) -> String {
    let secs = age.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", secs % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_how_a_job_is_and_why() {
        let now = Timestamp::parse_rfc3339("2026-01-31T12:00:00Z").expect("a time");
        let job = json!({
            "state": "failed", "job_id": "0190", "created_at": "2026-01-30T10:00:00Z", "attempt": 5,
            "progress": { "done": 1, "total": 3 }, "error": "no answer", "error_code": "store_unreachable"
        });
        let shown = shown(std::slice::from_ref(&job), now, None);
        let last = shown.lines().last().map(|line| console::strip_ansi_codes(line).into_owned());
        assert_eq!(last.as_deref(), Some("failed  0190  1d 2h  1/3    5    store_unreachable: no answer"));
        let mut waiting = job.clone();
        waiting["waiting_for"] = json!([{ "backend": "s3", "access_key": "key", "reason": "unreachable" }]);
        assert_eq!(what(&waiting), "waits for s3 key, unreachable");
        waiting["retried_as"] = json!("0191");
        assert_eq!(what(&waiting), "run again as 0191");
    }

    #[test]
    fn an_age_has_two_units() {
        let ages = [5, 65, 3_720, 93_784].map(|secs| age(Duration::from_secs(secs)));
        assert_eq!(ages, ["5s", "1m 5s", "1h 2m", "1d 2h"]);
    }
}
