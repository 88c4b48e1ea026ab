//! The registered stores: each is written to and deleted from once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::Check;
use crate::error_chain::ErrorChain;
use crate::register::{EntryKind, Register, RegisteredStore};
use crate::writer::{ProbeOutcome, StorageSettings, StoreTimeouts, WriteErrorKind};

const NAME: &str = "stores";

/// Stores that are tried at once.
const AT_ONCE: usize = 8;
/// For one of them.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Tries every store: what each lets the server do.
pub async fn stores(register: &Register, timeouts: StoreTimeouts) -> Vec<Check> {
    let entries = register.list().into_iter().filter(|entry| matches!(entry.kind, EntryKind::Store(_)));
    let stores: Vec<_> = entries.filter_map(|entry| register.store(&entry.access_key)).collect();
    if stores.is_empty() {
        return vec![Check::ok(NAME, "none is registered")];
    }
    stream::iter(stores).map(|store| tried(store, timeouts)).buffered(AT_ONCE).collect().await
}

async fn tried(store: Arc<RegisteredStore>, timeouts: StoreTimeouts) -> Check {
    let name = format!("store {}", store.access_key);
    let Some(settings) = StorageSettings::from_sealed(&store.settings) else {
        let remedy = "register it anew; a newer Pixerve wrote it, or it is damaged";
        return Check::failed(&name, "its settings can't be read", remedy);
    };
    let place = settings.place();
    let probed = match settings.connect(&timeouts) {
        Ok(backend) => timeout(TIMEOUT, async move { backend.probe().await }).await,
        Err(error) => Ok(Err(error)),
    };
    match probed {
        Ok(Ok(ProbeOutcome::Deleted)) => Check::ok(&name, format!("{place}: an object was written and deleted")),
        Ok(Ok(ProbeOutcome::Kept(why))) => Check::warning(
            &name,
            format!("{place}: it takes objects, and refuses to delete any ({})", ErrorChain(&why)),
            "let its credentials delete objects: else nothing of what is stored there can be erased",
        ),
        Ok(Err(error)) => {
            let remedy = match error.kind {
                WriteErrorKind::Refused => {
                    "look at the credentials and the bucket that it was registered with, and register it anew with good ones"
                }
                WriteErrorKind::Unavailable | WriteErrorKind::Cancelled => {
                    "see whether it runs, and whether this machine reaches its address; jobs wait for it meanwhile (stores.give_up_after)"
                }
                WriteErrorKind::Shortage => "give the server more open files or memory",
                WriteErrorKind::Missing | WriteErrorKind::Invalid | WriteErrorKind::SourceDamaged => {
                    "look at what it was registered with: another try would come to the same"
                }
            };
            Check::failed(&name, format!("{place}: {}", ErrorChain(&error)), remedy)
        }
        Err(_) => Check::failed(
            &name,
            format!("{place}: it has not answered for {} s", TIMEOUT.as_secs()),
            "see whether it runs, and whether this machine reaches its address; jobs wait for it meanwhile (stores.give_up_after)",
        ),
    }
}
