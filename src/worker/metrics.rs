//! What workers count.

use std::sync::Arc;

use crate::job::Format;
use crate::ledger::ErasureReason;
use crate::metrics::{CounterBy, Labels, Registry, begin_at_zero};
use crate::pipeline::StepMetrics;

/// Counts of what workers make. Clones are one.
#[derive(Clone, Debug)]
pub struct WorkerMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    variants: CounterBy<1>,
    variant_bytes: CounterBy<1>,
    erased: CounterBy<1>,
    steps: StepMetrics,
}

fn labels(format: Format) -> Labels<1> {
    [("format", format.extension())]
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        let families = Families {
            variants: CounterBy::default(),
            variant_bytes: CounterBy::default(),
            erased: CounterBy::default(),
            steps: StepMetrics::default(),
        };
        begin_at_zero(&families.variants, Format::ALL.map(labels));
        begin_at_zero(&families.variant_bytes, Format::ALL.map(labels));
        begin_at_zero(&families.erased, ErasureReason::ALL.map(|reason| [("reason", reason.as_str())]));
        Self(Arc::new(families))
    }
}

impl WorkerMetrics {
    /// Under their names.
    pub fn register(&self, registry: &mut Registry) {
        let Families { variants, variant_bytes, erased, steps } = &*self.0;
        registry.register("pixerve_variants", "Variants made", variants.clone());
        registry.register("pixerve_variant_bytes", "Bytes of the variants made", variant_bytes.clone());
        registry.register("pixerve_jobs_erased", "Jobs erased, with all that was stored of them", erased.clone());
        steps.register(registry);
    }

    /// A variant of so many bytes was made.
    pub(super) fn made(&self, format: Format, bytes: u64) {
        self.0.variants.get_or_create(&labels(format)).inc();
        self.0.variant_bytes.get_or_create(&labels(format)).inc_by(bytes);
    }

    /// A job is erased.
    pub(super) fn erased(&self, reason: ErasureReason) {
        self.0.erased.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    /// How long steps take.
    #[must_use]
    pub fn steps(&self) -> &StepMetrics {
        &self.0.steps
    }
}
