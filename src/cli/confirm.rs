//! Asking whoever sits at the terminal, before something goes for good.

use std::io::{self, Write};

use tokio::task::spawn_blocking;

use super::error::CliError;

/// Whether the person at the terminal says yes.
pub(super) async fn confirmed(question: &'static str) -> Result<bool, CliError> {
    let answer = spawn_blocking(move || {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = answer.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let answer = answer.map_err(|source| CliError::File { what: "reading your answer".to_owned(), source })?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for yes in ["y\n", "Y\n", " yes \n"] {
            assert!(is_yes(yes), "{yes}");
        }
        for no in ["", "\n", "n\n", "yesterday\n", "yy\n"] {
            assert!(!is_yes(no), "{no}");
        }
    }
}
