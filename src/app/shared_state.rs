//! What many nodes keep together, and what a node does because there are others: the queue on Redis, originals and the
//! register in a bucket.

// Nothing is shared without a bucket.
#![cfg_attr(not(feature = "s3"), allow(dead_code))]

#[cfg(feature = "s3")]
mod open;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "s3")]
pub(super) use self::open::{RedisJournal, check, node_options, open, queue_options, scratch_dir};
use crate::bucket::LastProbe;
use crate::nodes::{Nodes, NodesStatus};
use crate::queue::RedisQueue;
#[cfg(feature = "s3")]
use crate::writer::BucketServe;

/// How often jobs are counted by each of few nodes.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// This node's part in what is shared.
pub(super) struct SharedState {
    pub(super) nodes: Nodes,
    pub(super) bucket: SharedBucket,
    pub(super) queue: Arc<RedisQueue>,
    pub(super) heartbeat: Heartbeat,
}

/// How the bucket is, for whoever has no other business with it.
pub(super) struct SharedBucket {
    /// The files in it that nodes serve, if they are there.
    #[cfg(feature = "s3")]
    pub(super) served: BucketServe,
    pub(super) last_probe: Arc<dyn Fn() -> Option<LastProbe> + Send + Sync>,
    /// Looks at it now and then.
    pub(super) keep_probing: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

/// Tells the others of this node, from before it has opened what they share.
pub(super) struct Heartbeat {
    beating: JoinHandle<()>,
    stop: CancellationToken,
}

impl Heartbeat {
    fn start(nodes: &Nodes) -> Self {
        let stop = CancellationToken::new();
        Self { beating: tokio::spawn(nodes.clone().run(stop.clone())), stop }
    }

    /// Says goodbye.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        // What it came to is nobody's to know any more.
        let _ = (&mut self.beating).await;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // Whoever drops it has no time for a goodbye: the others miss it soon.
        self.beating.abort();
    }
}

/// Counts the jobs of all nodes now and then, so that whoever asks need not wait for Redis.
pub(super) async fn sample(queue: Arc<RedisQueue>, status: watch::Receiver<NodesStatus>, stop: CancellationToken) {
    let sampling = async {
        loop {
            // An error is told by whoever asks.
            let _ = queue.sample().await;
            let interval = status.borrow().interval(SAMPLE_EVERY);
            sleep(interval).await;
        }
    };
    stop.run_until_cancelled(sampling).await;
}
