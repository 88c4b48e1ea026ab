//! What the exit code of a command says.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked for is done.
    Done,
    /// It failed. For a server: another start may get past it.
    Failed,
    /// The command line or settings have to be changed first, or a file that they name. A service manager needn't try
    /// again.
    Usage,
    /// Some of it is done, and some failed.
    SomeFailed,
    /// No server answers.
    Unreachable,
    /// The server doesn't let the token do this.
    Refused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::SomeFailed => 3,
            Exit::Unreachable => 4,
            Exit::Refused => 5,
        })
    }
}

impl Exit {
    /// That of many things by how each ended.
    pub(super) fn of_all(ends: &[Self]) -> Self {
        let Some(first) = ends.iter().copied().find(|end| *end != Self::Done) else { return Self::Done };
        if ends.contains(&Self::Done) {
            return Self::SomeFailed;
        }
        // What one and all have in common is said; else it just failed.
        if ends.iter().all(|end| *end == first) { first } else { Self::Failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_many_says_what_all_have_in_common() {
        for (ends, all) in [
            (vec![], Exit::Done),
            (vec![Exit::Done, Exit::Done], Exit::Done),
            (vec![Exit::Unreachable], Exit::Unreachable),
            (vec![Exit::Refused, Exit::Refused], Exit::Refused),
            (vec![Exit::Refused, Exit::Failed], Exit::Failed),
            (vec![Exit::Refused, Exit::Done], Exit::SomeFailed),
        ] {
            assert_eq!(Exit::of_all(&ends), all, "{ends:?}");
        }
    }
}
