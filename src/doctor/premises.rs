//! What lies on the machine of a server, as its settings say.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use secrecy::SecretString;
use tokio::task::spawn_blocking;

use super::Check;
use super::callbacks::callback_addresses;
use super::clock::clock;
use super::databases::{are_in_use, databases};
use super::directories::{directory, moved};
use super::keys::{sealed_secrets, sealing_keys, token_keys};
use super::open_files::open_files;
use super::presets::presets;
use crate::clock::Timestamp;
use crate::disks::RootKind;
use crate::job::{CallbackAddresses, SpecLimits};
use crate::register::Sealer;

/// What of the settings says where things lie, and what is asked of them.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they are called as the settings are")]
pub struct Premises {
    pub data_dir: PathBuf,
    /// None where files are served from the bucket.
    pub serve_dir: Option<PathBuf>,
    /// None where private files are in no directory.
    pub private_dir: Option<PathBuf>,
    pub jwt_file: PathBuf,
    pub jwt_secret: Option<SecretString>,
    /// The file of sealing keys.
    pub sealing_keys: PathBuf,
    /// Many nodes share queue and bucket: no database is in the data directory.
    pub is_shared: bool,
    pub free_disk_min: u64,
    pub connections_max: usize,
    pub callback_allow: Vec<IpNet>,
    pub presets_dir: Option<PathBuf>,
    pub spec_limits: SpecLimits,
    pub callback_addresses: Arc<dyn CallbackAddresses>,
}

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The server that has the databases open.
    Server,
    /// Somebody beside it, or before it starts.
    Beside,
}

impl Premises {
    /// Looks at all of it: `last_seen` is what the last server noted of the clock.
    pub async fn look(self, asked_by: AskedBy, now: Timestamp, last_seen: Option<Timestamp>) -> Vec<Check> {
        let data_dir = self.data_dir.clone();
        let looked = spawn_blocking(move || self.look_at_files(asked_by, now, last_seen)).await;
        let (mut checks, sealer) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                let found = format!("looking at files and directories broke off: {error}");
                return vec![Check::failed("directories", found, "report this: it is an error of the program")];
            }
        };
        if let Some(sealer) = sealer {
            // Beside the keys that they are sealed with.
            checks.splice(2..2, sealed_secrets(&data_dir, sealer).await);
        }
        checks
    }

    /// Whether a server has the data directory open. Blocks.
    #[must_use]
    pub fn are_in_use(&self) -> bool {
        !self.is_shared && are_in_use(&self.data_dir)
    }

    /// Also what seals, where there is something of one machine that it may have sealed.
    fn look_at_files(
        &self,
        asked_by: AskedBy,
        now: Timestamp,
        last_seen: Option<Timestamp>,
    ) -> (Vec<Check>, Option<Sealer>) {
        let (sealing, sealer) = sealing_keys(self);
        let mut checks = vec![token_keys(self), sealing];
        checks.push(directory(RootKind::Data, &self.data_dir, self.free_disk_min));
        checks.extend(self.serve_dir.as_deref().map(|serve| directory(RootKind::Serve, serve, self.free_disk_min)));
        checks.extend(self.private_dir.as_deref().map(|dir| directory(RootKind::Private, dir, self.free_disk_min)));
        // That something else is in its place has been told.
        let may_have_databases = self.data_dir.is_dir() || !self.data_dir.exists();
        if !self.is_shared && may_have_databases {
            checks.extend(databases(&self.data_dir, asked_by));
            checks.extend(moved(&self.data_dir));
        }
        if asked_by == AskedBy::Beside {
            checks.push(clock(now, last_seen));
        }
        checks.push(open_files(self.connections_max));
        checks.push(callback_addresses(&self.callback_allow));
        let directory = self.presets_dir.as_deref();
        checks.extend(
            directory.into_iter().flat_map(|directory| presets(directory, self.spec_limits, &*self.callback_addresses)),
        );
        (checks, sealer.filter(|_| !self.is_shared))
    }
}
