//! `pixerve doctor`: looks at an installation from outside, has its server look at itself, and says what to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{CallerArgs, Client, ServerArgs, Surroundings};
use super::error::CliError;
use super::exit::Exit;
use super::output::{self, OutputArgs, Plain, state_style, styled};
use crate::auth::Scope;
use crate::clock::{Clock, SharedClock, System};
use crate::config::Config;
use crate::doctor::{self, AskedBy, Backup, Check, CheckState};
use crate::error_chain::ErrorChain;
use crate::worker::ClockKeeper;

/// For a server to say that it lives.
const LIFE_TIMEOUT: Duration = Duration::from_secs(10);
/// For a server to look at itself: it waits for its stores.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_mins(3);

const SERVER: &str = "server";

const EXAMPLES: &str = "\
Examples:
  pixerve doctor                                   what is amiss here, and what to do
  pixerve doctor --config new.toml                 whether a server could start with these settings
  pixerve doctor --backup /backup/pixerve          what a copy of a data directory holds, and what would come back to life
  pixerve doctor --server https://images.example   what that server finds of itself
  pixerve doctor --json | jq -r 'select(.state != \"ok\") | .remedy'";

/// What to look at.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Look at this copy of a data directory instead, and change nothing in it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "token", "sub", "scope"])]
    backup: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    caller: CallerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a server answers.
#[derive(Deserialize)]
struct Diagnosis {
    checks: Vec<Check>,
}

/// What was told so far.
struct Report {
    output: OutputArgs,
    told: Vec<Check>,
}

impl Report {
    /// Tells of what was found `at` a place, `called` so for people. What was found there before is not told again.
    fn tell(&mut self, at: &str, called: &str, checks: Vec<Check>) -> Result<(), CliError> {
        if !self.output.json {
            output::print(&styled(&Plain(called), anstyle::Style::new().bold()))?;
        }
        for check in checks {
            if self.output.json {
                let mut object = json!(check);
                object["at"] = json!(at);
                output::print(&object.to_string())?;
            } else if !self.told.contains(&check) {
                output::print(&lines(&check))?;
            }
            self.told.push(check);
        }
        Ok(())
    }

    fn exit(&self) -> Exit {
        if self.told.iter().all(|check| check.state == CheckState::Ok) { Exit::Done } else { Exit::Failed }
    }
}

/// One thing that was looked at, and on a second line what to do.
fn lines(Check { name, state, found, remedy }: &Check) -> String {
    let word = state.as_str();
    let state = styled(&format_args!("{word:<7}"), state_style(word));
    let line = format!("  {state}  {}: {}", Plain(name), Plain(found));
    match remedy {
        Some(remedy) => format!("{line}\n           to do: {}", Plain(remedy)),
        None => line,
    }
}

pub(super) async fn doctor(here: &Surroundings, args: DoctorArgs) -> Result<Exit, CliError> {
    let mut report = Report { output: args.output, told: Vec::new() };
    if let Some(directory) = args.backup {
        let config = here.config()?;
        let backup = Backup { directory, sealing_keys: config.key_file(), queue: config.queue.clone() };
        let called = format!("The backup {}", backup.directory.display());
        let clock: SharedClock = Arc::new(System::new());
        let checks = doctor::look_at_backup(backup, clock).await;
        report.tell("backup", &called, checks)?;
        return Ok(report.exit());
    }
    if here.names_server(&args.server) {
        let client = here.client(&args.server)?;
        let checks = diagnosis(here, &client, &args.caller).await?;
        report.tell(SERVER, &called(&client), checks)?;
        return Ok(report.exit());
    }
    let config = match here.load_config() {
        Ok((config, warnings)) => {
            let mut checks = doctor::settings([], warnings.iter().map(ToString::to_string));
            checks.extend(look_here(config).await);
            report.tell("here", "Here, by the settings", checks)?;
            config
        }
        Err(errors) => {
            let checks = doctor::settings(errors.iter().map(ToString::to_string), []);
            report.tell("here", "Here, by the settings", checks)?;
            return Ok(report.exit());
        }
    };
    match here.client(&args.server) {
        Ok(client) => {
            let checks = look_at_server(here, config, &client, &args.caller).await;
            report.tell(SERVER, &called(&client), checks)?;
        }
        Err(error) => {
            let checks = vec![Check::ok(SERVER, format!("it is not asked: {}", ErrorChain(&error)))];
            report.tell(SERVER, "The server", checks)?;
        }
    }
    Ok(report.exit())
}

fn called(client: &Client) -> String {
    format!("The server at {}, by itself", client.server())
}

/// What can be seen without a server.
async fn look_here(config: &Config) -> Vec<Check> {
    let last_seen = ClockKeeper::last_seen(&config.data_dir);
    let premises = config.premises().look(AskedBy::Beside, System::new().now(), last_seen);
    // As a server runs it: not by name, since the file there may be another version's by now.
    let sandbox = doctor::sandbox(config.sandbox.clone(), PathBuf::from("/proc/self/exe"));
    let (mut checks, sandbox) = tokio::join!(premises, sandbox);
    checks.push(sandbox);
    checks
}

/// What the server of these settings says of itself, if it runs.
async fn look_at_server(here: &Surroundings, config: &Config, client: &Client, caller: &CallerArgs) -> Vec<Check> {
    let premises = config.premises();
    let (addr, data_dir) = (config.addr, premises.data_dir.display());
    let is_in_use = premises.are_in_use();
    let life = client.answer(client.request(Method::GET, "/health/live", &[]).timeout(LIFE_TIMEOUT)).await;
    let life: Result<Value, CliError> = match life {
        Ok(response) => {
            Ok(response.bytes().await.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default())
        }
        Err(error) => Err(error),
    };
    let check = match life {
        Err(error) if is_in_use => Check::failed(
            SERVER,
            format!("a server has {data_dir} open, and doesn't answer at {addr}: {}", ErrorChain(&error)),
            "see its log: it starts, hangs, or listens elsewhere by settings of its own (PIXERVE_ADDR)",
        ),
        Err(_) => Check::ok(SERVER, format!("none answers at {addr}; what it alone knows was not looked at")),
        Ok(life) if life["status"] != "alive" => Check::failed(
            SERVER,
            format!("something else answers at {addr}"),
            "stop it, or choose another address by PIXERVE_ADDR",
        ),
        Ok(_) if !is_in_use && !premises.is_shared => Check::failed(
            SERVER,
            format!("the Pixerve that answers at {addr} has another data directory open than {data_dir}"),
            "give this command the settings of that server, or this server another address by PIXERVE_ADDR",
        ),
        Ok(_) => match diagnosis(here, client, caller).await {
            Ok(checks) => return checks,
            Err(error) => not_examined(&error),
        },
    };
    vec![check]
}

/// That a server which runs doesn't say how it is.
fn not_examined(error: &CliError) -> Check {
    let found = format!("it doesn't say how it is: {}", ErrorChain(error));
    match error {
        CliError::Problem(problem) if problem.status() == StatusCode::NOT_FOUND => {
            Check::warning(SERVER, found, "restart it: an older Pixerve runs than this command is of")
        }
        CliError::Problem(_) | CliError::Token(_) => Check::failed(
            SERVER,
            found,
            "give a token with the scope admin by PIXERVE_TOKEN, or run this where the jwt.json of that server is",
        ),
        _ => Check::failed(SERVER, found, "see its log"),
    }
}

/// What a server finds when it looks at itself.
async fn diagnosis(here: &Surroundings, client: &Client, caller: &CallerArgs) -> Result<Vec<Check>, CliError> {
    let credentials = here.credentials(caller, Some(Scope::Admin))?;
    let request = client.request_as(&credentials, Method::POST, "/doctor", &[])?.timeout(DIAGNOSIS_TIMEOUT);
    let answer = client.json_of(client.success(request).await?).await?;
    let diagnosis: Result<Diagnosis, _> = serde_json::from_value(answer);
    diagnosis.map(|diagnosis| diagnosis.checks).map_err(|error| client.not_understood(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_and_what_to_do_stand_on_two_lines() {
        let plain = |check: &Check| console::strip_ansi_codes(&lines(check)).into_owned();
        assert_eq!(plain(&Check::ok("clock", "it is noon")), "  ok       clock: it is noon");
        let check = Check::failed("token keys", "a\u{1b}[2J is bad", "mend it");
        assert_eq!(plain(&check), "  failed   token keys: a\u{fffd}[2J is bad\n           to do: mend it");
    }
}
