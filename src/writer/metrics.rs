//! What is counted of stores.

use std::sync::Arc;
use std::time::Duration;

use super::{WriteError, WriteErrorKind};
use crate::job::BackendKind;
use crate::metrics::{CounterBy, HistogramBy, Registry, answer_seconds, begin_at_zero};

/// The directory that this server serves itself.
pub(super) const DIRECT_HOST: &str = "directHost";

/// Every kind of store, as `stored` calls it.
pub const BACKENDS: [&str; 3] = [DIRECT_HOST, BackendKind::S3.as_str(), BackendKind::Gcs.as_str()];

/// What is done to a store.
const OPERATIONS: [&str; 3] = [PUT, GET, DELETE];
pub(super) const PUT: &str = "put";
pub(super) const GET: &str = "get";
pub(super) const DELETE: &str = "delete";

const OK: &str = "ok";
const RETRIED: &str = "retried";
const FAILED: &str = "failed";

/// Counts of what is asked of stores. Clones are one.
#[derive(Clone, Debug)]
pub struct StoreMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    operations: CounterBy<3>,
    durations: HistogramBy<2>,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        let families =
            Families { operations: CounterBy::default(), durations: HistogramBy::new_with_constructor(answer_seconds) };
        for (backend, operation) in
            BACKENDS.into_iter().flat_map(|backend| OPERATIONS.map(|operation| (backend, operation)))
        {
            let results = [OK, RETRIED, FAILED];
            let labels = results.map(|result| [("backend", backend), ("operation", operation), ("result", result)]);
            begin_at_zero(&families.operations, labels);
            begin_at_zero(&families.durations, [[("backend", backend), ("operation", operation)]]);
        }
        Self(Arc::new(families))
    }
}

impl StoreMetrics {
    /// Under their names.
    pub fn register(&self, registry: &mut Registry) {
        let Families { operations, durations } = &*self.0;
        registry.register("pixerve_store_operations", "Calls to stores by what came of them", operations.clone());
        registry.register("pixerve_store_operation_duration_seconds", "What a call to a store took", durations.clone());
    }

    /// What was asked of a store of this kind came to `result` after so long.
    pub(super) fn count<T>(
        &self,
        backend: &'static str,
        operation: &'static str,
        result: &Result<T, WriteError>,
        took: Duration,
    ) {
        let word = match result {
            Ok(_) => OK,
            Err(error) => match error.kind {
                WriteErrorKind::Unavailable | WriteErrorKind::Shortage => RETRIED,
                WriteErrorKind::Refused
                | WriteErrorKind::Missing
                | WriteErrorKind::Invalid
                | WriteErrorKind::SourceDamaged => FAILED,
                // That says nothing about the store.
                WriteErrorKind::Cancelled => return,
            },
        };
        self.0.operations.get_or_create(&[("backend", backend), ("operation", operation), ("result", word)]).inc();
        self.0.durations.get_or_create(&[("backend", backend), ("operation", operation)]).observe(took.as_secs_f64());
    }
}
