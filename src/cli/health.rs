//! `pixerve health`: asks a running server how it is, for whoever starts it again or sends it requests.

use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{ServerArgs, Surroundings};
use super::error::CliError;
use super::exit::Exit;
use super::output::{OutputArgs, Plain};
use crate::error_chain::ErrorChain;

/// Container runtimes wait 30 s by default; a server that needs a third of that is not well.
const TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  pixerve health                                     whether the server of these settings should be sent requests
  pixerve health --live                              whether it runs at all, for whoever starts it again
  pixerve health --server https://images.example     the same of another";

/// Whom to ask what.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct HealthArgs {
    /// Only whether it answers; without this, whether it should be sent requests
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn health(here: &Surroundings, args: HealthArgs) -> Result<Exit, CliError> {
    let client = here.client(&args.server)?;
    let path = if args.live { "/health/live" } else { "/health" };
    let answer = client.answer(client.request(Method::GET, path, &[]).timeout(TIMEOUT)).await;
    let (health, said, exit) = match answer {
        Ok(response) => {
            let status = response.status();
            let said = response.text().await.unwrap_or_default();
            match status {
                StatusCode::OK if args.live => ("alive", said, Exit::Done),
                StatusCode::OK => ("ready", said, Exit::Done),
                _ if args.output.json => ("not ready", said, Exit::Failed),
                status => ("not ready", format!("{status}: {said}"), Exit::Failed),
            }
        }
        Err(CliError::Unreachable { source, .. }) => {
            let said = format!("{}{path}: {}", client.server(), ErrorChain(&source));
            ("not reachable", said, Exit::Unreachable)
        }
        Err(error) => return Err(error),
    };
    let answer = serde_json::from_str(&said).unwrap_or(Value::String(said.clone()));
    let object = json!({ "server": client.server(), "health": health.replace(' ', "_"), "answer": answer });
    args.output.print(&object, || match exit {
        Exit::Done => health.to_owned(),
        _ => format!("{health}: {}", Plain(&said)),
    })?;
    Ok(exit)
}
