//! The databases in the data directory: whether somebody has them open, and what became of them before.

use std::path::{Path, PathBuf};

use super::{AskedBy, Check};
use crate::database::{Database, DatabaseLook, DatabaseState};
use crate::error_chain::ErrorChain;
use crate::ledger::{LEDGER_DATABASE, LedgerLook, SqliteLedger};
use crate::queue::QUEUE_DATABASE;
use crate::register::REGISTER_DATABASE;

const NAME: &str = "databases";

/// Each of the databases in `data`; in one line, if all is well.
pub(super) fn databases(data: &Path, asked_by: AskedBy) -> Vec<Check> {
    let mut told = Told { asked_by, checks: Vec::new(), found: Vec::new() };
    for database in [QUEUE_DATABASE, REGISTER_DATABASE] {
        let path = data.join(database);
        match Database::look(&path) {
            Ok(DatabaseLook { state, set_aside }) => told.tell(database, &path, state, &set_aside),
            Err(error) => told.tell_unreadable(&error),
        }
    }
    let path = data.join(LEDGER_DATABASE);
    match SqliteLedger::look(data) {
        Ok(LedgerLook { state, damage, bytes, set_aside }) => {
            match damage {
                Some(damage) => told.checks.push(Check::failed(
                    NAME,
                    format!("{} is damaged: {damage}", path.display()),
                    "look at the disk's health, and restore it from a backup; else the next start sets it aside once it meets the damage, and `pixerve gc --adopt` writes down what can be told of what is stored",
                )),
                None => told.tell(LEDGER_DATABASE, &path, state, &set_aside),
            }
            if bytes > 0 {
                told.found.push(format!("{LEDGER_DATABASE} has {} MiB", bytes.div_ceil(1 << 20)));
            }
        }
        Err(error) => told.tell_unreadable(&error),
    }
    if told.checks.is_empty() { vec![Check::ok(NAME, told.found.join(", "))] } else { told.checks }
}

/// What was found so far.
struct Told {
    asked_by: AskedBy,
    checks: Vec<Check>,
    /// What is well.
    found: Vec<String>,
}

impl Told {
    fn tell(&mut self, database: &str, path: &Path, state: DatabaseState, set_aside: &[PathBuf]) {
        let Self { asked_by, checks, found } = self;
        match state {
            DatabaseState::Missing => found.push(format!("{database} is not there yet")),
            DatabaseState::InUse if *asked_by == AskedBy::Server => found.push(format!("{database} is open")),
            DatabaseState::InUse => found.push(format!("a server has {database} open")),
            DatabaseState::Closed { cleanly: true } => found.push(format!("{database} was closed")),
            DatabaseState::Closed { cleanly: false } => checks.push(Check::warning(
                NAME,
                format!("{} was not closed: the server that had it open was killed, or lost its power", path.display()),
                "start the server: it looks through it and goes on. If that happens again, see what kills it (memory, a time limit for stopping)",
            )),
            DatabaseState::Gone => checks.push(Check::failed(
                NAME,
                format!("{} is gone, though what belongs to it is there", path.display()),
                "mount or restore it: a start makes a new one, which knows nothing of what was in it",
            )),
        }
        for path in set_aside {
            checks.push(Check::warning(
                NAME,
                format!("{} was damaged, and set aside: what it alone knew is lost", path.display()),
                "see what of jobs, users and stores is missing, look at the disk's health, then move it elsewhere",
            ));
        }
    }

    fn tell_unreadable(&mut self, error: &dyn std::error::Error) {
        let remedy = "let the user of the server read it";
        self.checks.push(Check::failed(NAME, ErrorChain(error).to_string(), remedy));
    }
}

/// Whether a server has the data directory `data` open.
pub(super) fn are_in_use(data: &Path) -> bool {
    Database::look(&data.join(QUEUE_DATABASE)).is_ok_and(|look| look.state == DatabaseState::InUse)
}
