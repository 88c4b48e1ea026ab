//! `pixerve man`: the manual.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use super::error::CliError;
use super::output;

const EXAMPLES: &str = "\
Examples:
  pixerve man | man -l -                       read the page of pixerve
  pixerve man upload | man -l -                read that of one command
  pixerve man --dir /usr/local/share/man/man1  write all of them";

/// Which page, or where to.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// Print the page of this command; by default that of pixerve
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write all pages into this directory, which must be there
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Prints a page of the manual of `command`, or writes all.
///
/// # Errors
/// If there is no such command, or a page can't be written.
pub fn man(args: ManArgs, command: Command) -> Result<(), CliError> {
    if let Some(dir) = args.dir {
        return clap_mangen::generate_to(command, &dir)
            .map_err(|source| CliError::File { what: format!("writing the manual into {}", dir.display()), source });
    }
    let mut command = command.disable_help_subcommand(true);
    // Gives each subcommand its name in full.
    command.build();
    if let Some(name) = args.command {
        let found = command.find_subcommand(&name).cloned();
        let unknown = || CliError::Usage(format!("there is no command {name}; `pixerve help` lists them"));
        command = found.ok_or_else(unknown)?;
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(CliError::Output)?;
    output::print(String::from_utf8_lossy(&page).trim_end())
}
