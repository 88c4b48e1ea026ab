//! The commands that talk to a server over HTTP, as any other client does: one file a command. What they may do is what their
//! token may.
//!
//! For people they print lines, for machines with `--json` one object a line and nothing else on standard output; what went
//! wrong is told on standard error, and by the exit code ([`Exit`]).

mod attempts;
mod cancel;
mod client;
mod completions;
mod confirm;
mod doctor;
mod erase;
mod error;
mod exit;
mod gc;
mod health;
mod jobs;
mod man;
mod moment;
mod output;
mod problem;
mod retry;
mod show;
mod table;
mod token;
mod upload;
mod watch;

use std::io;
use std::path::PathBuf;

use clap::Subcommand;

pub use cancel::CancelArgs;
pub use client::{CallerArgs, OwnerArgs, ServerArgs};
pub use completions::{CompletionsArgs, completions};
pub use doctor::DoctorArgs;
pub use erase::EraseArgs;
pub use error::CliError;
pub use exit::Exit;
pub use gc::GcArgs;
pub use health::HealthArgs;
pub use jobs::JobsArgs;
pub use man::{ManArgs, man};
pub use output::OutputArgs;
pub use problem::Problem;
pub use retry::RetryArgs;
pub use show::ShowArgs;
pub use token::{TokenError, TokenOptions, token};
pub use upload::UploadArgs;

use client::Surroundings;

/// What to ask of a server.
#[derive(Subcommand)]
pub enum ClientCommand {
    /// Send pictures to a server, each once, whatever breaks on the way
    Upload(UploadArgs),
    /// Show how a job is
    Show(ShowArgs),
    /// List the jobs that there are, the newest first
    Jobs(JobsArgs),
    /// Stop a job for good
    Cancel(CancelArgs),
    /// Run failed and cancelled jobs again, each as a new job
    Retry(RetryArgs),
    /// Erase jobs and everything that was stored of them, for good
    Erase(EraseArgs),
    /// Compare what stores have with what the server knows: report it, write it down, or delete it
    Gc(GcArgs),
    /// Look at settings, keys, directories, the system and the running server, and say what to do: exit code 0 only if all is well
    Doctor(DoctorArgs),
    /// Ask the running server how it is: exit code 0 if it is ready, 1 if not, 4 if it can't be reached
    Health(HealthArgs),
}

/// Runs `command` with the settings of `config_file`, should it need any: how it ended.
///
/// # Errors
/// Why it did nothing, or not all; [`CliError::exit`] says how that ends the program.
pub async fn run(command: ClientCommand, config_file: Option<PathBuf>) -> Result<Exit, CliError> {
    let here = Surroundings::new(config_file)?;
    let ended = match command {
        ClientCommand::Upload(args) => upload::upload(&here, args).await,
        ClientCommand::Show(args) => show::show(&here, args).await,
        ClientCommand::Jobs(args) => jobs::jobs(&here, args).await,
        ClientCommand::Cancel(args) => cancel::cancel(&here, args).await,
        ClientCommand::Retry(args) => retry::retry(&here, args).await,
        ClientCommand::Erase(args) => erase::erase(&here, args).await,
        ClientCommand::Gc(args) => gc::gc(&here, args).await,
        ClientCommand::Doctor(args) => doctor::doctor(&here, args).await,
        ClientCommand::Health(args) => health::health(&here, args).await,
    };
    match ended {
        // Whoever reads has seen enough, as `head` does.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Failed),
        ended => ended,
    }
}
