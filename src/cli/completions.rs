//! `pixerve completions`: what a shell completes the command line by.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::error::CliError;
use super::output;

const EXAMPLES: &str = "\
Examples:
  pixerve completions bash > /usr/share/bash-completion/completions/pixerve
  pixerve completions zsh > /usr/share/zsh/vendor-completions/_pixerve
  pixerve completions fish > ~/.config/fish/completions/pixerve.fish";

/// For which shell.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the completions of `command` for a shell.
///
/// # Errors
/// If nobody takes them.
#[expect(clippy::needless_pass_by_value, reason = "as the other commands have it")]
pub fn completions(args: CompletionsArgs, mut command: Command) -> Result<(), CliError> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())
}
