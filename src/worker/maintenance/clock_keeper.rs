//! Notes the time on disk now and then, so that the next start can tell a clock that was set wrong meanwhile.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::repeat;
use crate::clock::{ClockTrust, SharedClock, Timestamp};
use crate::durable::{self, OWNER_ONLY};
use crate::error_chain::ErrorChain;

/// How old the note may be: next to nothing beside the jump that matters ([`crate::clock::JUMP_MAX`]).
const PERIOD: Duration = Duration::from_mins(10);

/// The file in the data directory: milliseconds since the Unix epoch.
const FILE: &str = "clock.seen";

/// One for the whole server.
pub struct ClockKeeper {
    path: PathBuf,
    clock: SharedClock,
    trust: ClockTrust,
}

impl ClockKeeper {
    /// When an earlier server noted the time last in the data directory `data`; none if none did, or its note can't be read.
    /// Blocks.
    #[must_use]
    pub fn last_seen(data: &Path) -> Option<Timestamp> {
        let path = data.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok().map(Timestamp::from_millis),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                warn!(path = %path.display(), error = %ErrorChain(&error), "time of the last run can't be read");
                None
            }
        }
    }

    /// A keeper that has not started.
    #[must_use]
    pub fn new(data: &Path, clock: SharedClock, trust: ClockTrust) -> Self {
        Self { path: data.join(FILE), clock, trust }
    }

    /// Notes the time now and then, while it may be believed, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        repeat(PERIOD, &stop, || self.note()).await;
    }

    async fn note(&self) {
        // A wrong time that was noted would be taken for right by the next start.
        if !self.trust.is_trusted() {
            return;
        }
        let (path, text) = (self.path.clone(), self.clock.now().as_millis().to_string());
        let noted = spawn_blocking(move || durable::replace_file(&path, text.as_bytes(), OWNER_ONLY)).await;
        match noted {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %ErrorChain(&error), "time can't be noted; will be retried"),
            Err(error) => warn!(error = %ErrorChain(&error), "noting the time failed; will be retried"),
        }
    }
}
