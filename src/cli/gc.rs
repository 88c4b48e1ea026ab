//! `pixerve gc`: has a server compare what stores have with what its ledger knows; what is deleted, somebody has seen before.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;

use super::attempts::Attempts;
use super::client::{CallerArgs, Client, Credentials, ServerArgs, Surroundings};
use super::confirm::confirmed;
use super::error::CliError;
use super::exit::Exit;
use super::output::{self, OutputArgs, Plain};
use super::table::{Cell, Column, Narrow, table, terminal_width};
use crate::auth::Scope;
use crate::ledger::GcRequest;
use crate::setting::parse_duration;

/// How often a comparison that goes on is asked about: at first, and at last.
const ASK_AFTER: Duration = Duration::from_millis(500);
const ASK_AFTER_MAX: Duration = Duration::from_secs(5);
/// For how long a server may be gone meanwhile.
const GIVE_UP_AFTER: Duration = Duration::from_mins(5);
/// For the answer to an order: the server gives it within 10 s.
const ORDER_TIMEOUT: Duration = Duration::from_mins(2);

const EXAMPLES: &str = "\
Examples:
  pixerve gc                               what is stored and nobody knows, and what is known and nowhere stored
  pixerve gc --adopt                       write down what is stored and unknown, as far as records and names tell whose it is
  pixerve gc --delete --older-than 30d     delete what nobody knows, once you have seen it and said yes
  pixerve gc --json | jq .report.unknown   the same report for a script";

/// What to do with what nobody knows.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct GcArgs {
    /// Write it down, as far as records and names tell whose it is
    #[arg(long)]
    adopt: bool,
    /// Delete it; with --adopt what could not be written down
    #[arg(long)]
    delete: bool,
    /// Leave alone what is younger: a day or more
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = older_than)]
    older_than: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    caller: CallerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn gc(here: &Surroundings, args: GcArgs) -> Result<Exit, CliError> {
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if args.delete && !args.yes && !can_ask {
        let why = "nobody can be asked here whether to delete: --yes does it, without --delete it only reports; nothing was done";
        return Err(CliError::Usage(why.to_owned()));
    }
    let asked = Asked {
        client: here.client(&args.server)?,
        credentials: here.credentials(&args.caller, Some(Scope::Admin))?,
        output: args.output,
    };
    if args.delete && !args.yes {
        let seen = asked.compare(&[("older_than", &args.older_than)]).await?;
        output::warn(format_args!("{}", summary(&seen)));
        let question =
            if args.adopt { "Delete for good what can't be adopted?" } else { "Delete all of the unknown for good?" };
        if !confirmed(question).await? {
            output::warn(format_args!("nothing was done"));
            return Ok(Exit::Failed);
        }
    }
    let mut query = vec![("older_than", args.older_than.as_str())];
    query.extend(args.adopt.then_some(("adopt", "true")));
    query.extend(args.delete.then_some(("delete", "true")));
    let compared = asked.compare(&query).await?;
    args.output.print(&compared, || summary(&compared))?;
    Ok(exit_of(&compared))
}

/// A server that is asked for a comparison.
struct Asked {
    client: Client,
    credentials: Credentials,
    output: OutputArgs,
}

impl Asked {
    /// Has it compare, and waits for the end: what it found.
    async fn compare(&self, query: &[(&str, &str)]) -> Result<Value, CliError> {
        let Self { client, credentials, output } = self;
        let request = client.request_as(credentials, Method::POST, "/gc", query)?.timeout(ORDER_TIMEOUT);
        let mut run = client.json_of(client.success(request).await?).await?;
        let Some(id) = run["gc_id"].as_str().map(str::to_owned) else {
            return Err(client.not_understood("a comparison without `gc_id`"));
        };
        let path = format!("/gc/{id}");
        let spinner = Spinner::new(*output);
        let (mut wait, mut attempts) = (ASK_AFTER, Attempts::for_at_most(GIVE_UP_AFTER));
        while run["state"] == "running" {
            spinner.tell(&run);
            sleep(wait).await;
            wait = ASK_AFTER_MAX.min(wait * 2);
            match client.json(client.request_as(credentials, Method::GET, &path, &[])?).await {
                Ok(answer) => {
                    attempts.succeeded();
                    run = answer;
                }
                Err(error) => attempts.wait_after(error).await?,
            }
        }
        Ok(run)
    }
}

/// How far it is, on a terminal.
struct Spinner(ProgressBar);

impl Spinner {
    fn new(output: OutputArgs) -> Self {
        if output.json {
            return Self(ProgressBar::hidden());
        }
        // On standard error, and hidden if that is no terminal.
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("INVARIANT: a template of ours");
        Self(ProgressBar::new_spinner().with_style(style))
    }

    fn tell(&self, run: &Value) {
        let files: u64 = stores(run).iter().filter_map(|store| store["files"].as_u64()).sum();
        let unknown = run["report"]["unknown"]["files"].as_u64().unwrap_or_default();
        self.0.set_message(format!("{files} files looked at, {unknown} unknown"));
        self.0.tick();
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What goes to the server as it is.
fn older_than(text: &str) -> Result<String, String> {
    match parse_duration(text) {
        Some(duration) if duration >= GcRequest::OLDER_THAN_MIN => Ok(text.to_owned()),
        _ => Err("must be a duration such as 7d, of a day at least".to_owned()),
    }
}

fn exit_of(run: &Value) -> Exit {
    if run["state"] != "done" {
        return Exit::Failed;
    }
    let has_failed = stores(run).iter().any(|store| store["error"].is_string());
    if has_failed { Exit::SomeFailed } else { Exit::Done }
}

fn stores(run: &Value) -> &[Value] {
    run["report"]["stores"].as_array().map_or(&[], Vec::as_slice)
}

const COLUMNS: [Column; 3] = [
    Column { head: "FILES", narrow: Narrow::Stays },
    Column { head: "BYTES", narrow: Narrow::Stays },
    Column { head: "WHAT", narrow: Narrow::Cut },
];

/// What was found, and done, for people.
fn summary(run: &Value) -> String {
    let report = &run["report"];
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut rows = Vec::new();
    let mut row = |files: &Value, bytes: &Value, what: &str, always: bool| {
        if always || number(files) > 0 {
            let bytes = bytes.as_u64().map(|bytes| indicatif::HumanBytes(bytes).to_string()).unwrap_or_default();
            rows.push(vec![Cell::new(&number(files).to_string()), Cell::new(&bytes), Cell::new(what)]);
        }
    };
    let (none, unknown) = (&Value::Null, &report["unknown"]);
    row(&report["known"]["files"], &report["known"]["bytes"], "known", true);
    row(&unknown["files"], &unknown["bytes"], "unknown, with a name of ours", true);
    let adoptable = &unknown["adoptable"];
    row(&adoptable["by_record"], none, "  of these a record tells of, which is never deleted", false);
    row(&adoptable["by_name"], none, "  of these the name tells whose it is", false);
    row(&adoptable["unknown_owner"], none, "  of these nothing tells whose it is", false);
    row(&adoptable["unclear_owner"], none, "  of these the name may be one of several owners'", false);
    row(&report["young"], none, "unknown, and too young to be touched", false);
    row(&report["busy"], none, "unknown, and a job or an erasure is at it", false);
    row(&report["foreign"], none, "not ours, and never touched", false);
    row(&report["missing"]["files"], none, "known, and not there", true);
    row(&report["adopted"]["files"], &report["adopted"]["bytes"], "adopted", run["adopt"] == true);
    row(&report["deleted"]["files"], &report["deleted"]["bytes"], "deleted", run["delete"] == true);
    row(&report["left"], none, "left, though it was to be deleted", false);
    let mut lines = vec![table(&COLUMNS, &rows, terminal_width())];
    let text = |value: &Value, name: &str| Plain(value[name].as_str().unwrap_or_default()).to_string();
    for (what, examples) in [("unknown", &unknown["examples"]), ("missing", &report["missing"]["examples"])] {
        for example in examples.as_array().into_iter().flatten() {
            lines.push(format!("{what}: {} {}", text(example, "backend"), text(example, "location")));
        }
    }
    for store in stores(run).iter().filter(|store| store["error"].is_string()) {
        lines.push(format!("not all of {}: {}", text(store, "base"), text(store, "error")));
    }
    if run["state"] != "done" {
        lines.push(format!("{}: it was not compared to the end", output::state(&text(run, "state"))));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run() -> Value {
        json!({
            "gc_id": "0190", "state": "done", "adopt": false, "delete": true,
            "report": {
                "known": { "files": 7, "bytes": 2048 },
                "unknown": {
                    "files": 3, "bytes": 12, "adoptable": { "by_record": 0, "by_name": 2, "unknown_owner": 1, "unclear_owner": 0 },
                    "examples": [{ "backend": "s3", "location": "s3://b/a\u{1b}[2J.jpg" }]
                },
                "young": 0, "busy": 1, "foreign": 4,
                "missing": { "files": 1, "looked_for": 8, "examples": [{ "backend": "directHost", "location": "/files/x.jpg" }] },
                "adopted": { "files": 0, "bytes": 0 }, "deleted": { "files": 3, "bytes": 12 }, "left": 0,
                "stores": [{ "backend": "directHost", "base": "/files/", "files": 10 }]
            }
        })
    }

    #[test]
    fn what_was_found_is_a_table_and_nothing_in_it_reaches_the_terminal() {
        let told = console::strip_ansi_codes(&summary(&run())).into_owned();
        let lines = [
            "FILES  BYTES     WHAT",
            "7      2.00 KiB  known",
            "3      12 B      unknown, with a name of ours",
            "2                  of these the name tells whose it is",
            "1                  of these nothing tells whose it is",
            "1                unknown, and a job or an erasure is at it",
            "4                not ours, and never touched",
            "1                known, and not there",
            "3      12 B      deleted",
            "unknown: s3 s3://b/a\u{fffd}[2J.jpg",
            "missing: directHost /files/x.jpg",
        ];
        assert_eq!(told, lines.join("\n"));
    }

    #[test]
    fn a_store_that_was_not_looked_at_is_some_that_failed_and_an_end_before_the_end_is_all() {
        let mut run = run();
        assert_eq!(exit_of(&run), Exit::Done);
        run["report"]["stores"][0]["error"] = json!("away");
        assert_eq!(exit_of(&run), Exit::SomeFailed);
        run["state"] = json!("stopped");
        assert_eq!(exit_of(&run), Exit::Failed);
    }

    #[test]
    fn nothing_younger_than_a_day_is_asked_for() {
        for good in ["1d", "7days", "24h", "2weeks"] {
            assert_eq!(older_than(good).as_deref(), Ok(good));
        }
        for bad in ["", "1h", "23h", "0s", "soon", "-1d"] {
            assert!(older_than(bad).is_err(), "{bad}");
        }
    }
}
