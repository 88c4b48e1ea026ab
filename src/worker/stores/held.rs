//! Files that are about to be deleted since nobody names them: whoever is to write one meanwhile waits.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// By their names, wherever they are: two jobs of one name are of the same bytes and owner. Clones are one.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct HeldNames(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// With how often each is held.
    names: Mutex<HashMap<String, usize>>,
    freed: Notify,
}

/// A name that nobody writes as long as this lives. Whoever was at it before is seen by a look at the jobs that live.
pub(in crate::worker) struct HeldName {
    held: HeldNames,
    name: String,
}

impl HeldNames {
    pub(super) fn hold(&self, name: &str) -> HeldName {
        *self.0.names.lock().entry(name.to_owned()).or_default() += 1;
        HeldName { held: self.clone(), name: name.to_owned() }
    }

    /// Returns once nobody holds `name`.
    pub(super) async fn wait_until_free(&self, name: &str) {
        loop {
            let freed = self.0.freed.notified();
            if !self.0.names.lock().contains_key(name) {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for HeldName {
    fn drop(&mut self) {
        let mut names = self.held.0.names.lock();
        if let Some(times) = names.get_mut(&self.name) {
            *times -= 1;
            if *times == 0 {
                names.remove(&self.name);
            }
        }
        drop(names);
        self.held.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_writes_a_name_that_is_held_waits_until_nobody_holds_it_and_nobody_else_does() {
        let held = HeldNames::default();
        let (one, other) = (held.hold("a.jpg"), held.hold("a.jpg"));
        assert!(held.wait_until_free("b.jpg").now_or_never().is_some());
        let mut waiting = Box::pin(held.wait_until_free("a.jpg"));
        assert!((&mut waiting).now_or_never().is_none());
        drop(one);
        assert!((&mut waiting).now_or_never().is_none());
        drop(other);
        waiting.await;
    }
}
