//! The databases in the data directory: whether somebody has them open, and what became of them before.

use std::path::Path;

use super::{AskedBy, Check};
use crate::database::{Database, DatabaseLook, DatabaseState};
use crate::error_chain::ErrorChain;
use crate::queue::QUEUE_DATABASE;
use crate::register::REGISTER_DATABASE;

const NAME: &str = "databases";

/// Each of the databases in `data`; in one line, if all is well.
pub(super) fn databases(data: &Path, asked_by: AskedBy) -> Vec<Check> {
    let (mut checks, mut found) = (Vec::new(), Vec::new());
    for database in [QUEUE_DATABASE, REGISTER_DATABASE] {
        let path = data.join(database);
        let DatabaseLook { state, set_aside } = match Database::look(&path) {
            Ok(look) => look,
            Err(error) => {
                checks.push(Check::failed(NAME, ErrorChain(&error).to_string(), "let the user of the server read it"));
                continue;
            }
        };
        match state {
            DatabaseState::Missing => found.push(format!("{database} is not there yet")),
            DatabaseState::InUse if asked_by == AskedBy::Server => found.push(format!("{database} is open")),
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
    if checks.is_empty() { vec![Check::ok(NAME, found.join(", "))] } else { checks }
}

/// Whether a server has the data directory `data` open.
pub(super) fn are_in_use(data: &Path) -> bool {
    Database::look(&data.join(QUEUE_DATABASE)).is_ok_and(|look| look.state == DatabaseState::InUse)
}
