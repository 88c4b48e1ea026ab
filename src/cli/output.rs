//! What commands print: lines for people, with colours on a terminal, or one JSON object a line for machines.

use std::fmt;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::Value;

use super::error::CliError;

/// How a command prints.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// Print one JSON object a line on standard output, and nothing else there
    #[arg(long)]
    pub(super) json: bool,
}

impl OutputArgs {
    /// Prints `object` for machines, or what `lines` writes for people.
    pub(super) fn print(self, object: &Value, lines: impl FnOnce() -> String) -> Result<(), CliError> {
        let text = if self.json { object.to_string() } else { lines() };
        print(&text)
    }

    /// Tells a person what is on the way; machines are told of what came of it.
    pub(super) fn remark(self, text: fmt::Arguments<'_>) {
        if !self.json {
            warn(text);
        }
    }
}

/// A line on standard output; colours only where they are seen. `println!` would panic where a full disk or a closed pipe
/// is at the other end.
///
/// # Errors
/// If nobody takes it.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(CliError::Output)
}

/// A line on standard error.
pub(super) fn warn(text: fmt::Arguments<'_>) {
    // Whoever closed it wants to know nothing.
    let _ = writeln!(anstream::stderr().lock(), "pixerve: {text}");
}

/// A job's state, coloured.
pub(super) fn state(state: &str) -> String {
    styled(&Plain(state), state_style(state))
}

/// The colour of a state, of a job or of something that was looked at.
pub(super) fn state_style(state: &str) -> Style {
    let colour = match state {
        "completed" | "done" | "ok" => AnsiColor::Green,
        "failed" => AnsiColor::Red,
        "cancelled" | "incomplete" | "warning" => AnsiColor::Yellow,
        _ => AnsiColor::Cyan,
    };
    colour.on_default()
}

/// A text in a style, for [`print`].
pub(super) fn styled(text: &dyn fmt::Display, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// A text that others wrote: what in it would move a terminal's cursor, or more, is replaced.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain: String =
            self.0.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
        f.pad(&plain)
    }
}
