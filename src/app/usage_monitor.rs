//! How much the spool and the databases take of the disk: counted now and then, since nobody who asks waits for a disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use walkdir::WalkDir;

use crate::error_chain::ErrorChain;
use crate::ledger::LEDGER_DATABASE;
use crate::metrics::{Gauge, GaugeBy, Registry, begin_at_zero};
use crate::queue::QUEUE_DATABASE;
use crate::register::REGISTER_DATABASE;
use crate::spool::Spool;

/// Between two counts. Each looks at every file of the spool.
const COUNT_EVERY: Duration = Duration::from_secs(30);

/// The databases in the data directory, by what they are called in labels.
const DATABASES: [(&str, &str); 3] =
    [("queue", QUEUE_DATABASE), ("register", REGISTER_DATABASE), ("ledger", LEDGER_DATABASE)];

/// As of the last count. Clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    entries: Gauge,
    spool_bytes: Gauge,
    database_bytes: GaugeBy<1>,
}

impl Usage {
    pub(super) fn register(&self, registry: &mut Registry) {
        begin_at_zero(&self.database_bytes, DATABASES.map(|(name, _)| [("database", name)]));
        registry.register("pixerve_spool_entries", "Jobs of which the spool holds the original", self.entries.clone());
        registry.register("pixerve_spool_bytes", "Bytes of the spool", self.spool_bytes.clone());
        registry.register("pixerve_database_bytes", "Bytes of each database on the disk", self.database_bytes.clone());
    }

    /// Counts what is in the spool and in the databases' directories until `stop`.
    pub(super) async fn follow(self, spool: Arc<dyn Spool>, data_dir: PathBuf, stop: CancellationToken) {
        let mut ticks = interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // A disk that hangs holds that thread, and not the stop.
            stop.run_until_cancelled(self.count(&*spool, &data_dir)).await;
        }
    }

    /// What can't be looked at counts as nothing: the next count may see it.
    async fn count(&self, spool: &dyn Spool, data_dir: &Path) {
        match spool.usage().await {
            Ok(usage) => {
                self.entries.set(i64::try_from(usage.entries).unwrap_or(i64::MAX));
                self.spool_bytes.set(i64::try_from(usage.bytes).unwrap_or(i64::MAX));
            }
            Err(error) => debug!(error = %ErrorChain(&error), "counting what is in the spool failed"),
        }
        for (name, directory) in DATABASES {
            let directory = data_dir.join(directory);
            match spawn_blocking(move || bytes_below(&directory)).await {
                Ok(bytes) => drop(self.database_bytes.get_or_create(&[("database", name)]).set(bytes)),
                Err(error) => debug!(%error, "counting what is on the disk failed"),
            }
        }
    }
}

fn bytes_below(directory: &Path) -> i64 {
    let files = WalkDir::new(directory).into_iter().filter_map(|entry| entry.ok()?.metadata().ok());
    let bytes: u64 = files.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
