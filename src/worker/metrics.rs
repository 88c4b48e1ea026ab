//! What workers count.

use std::sync::Arc;

use crate::job::Format;
use crate::ledger::{ErasureReason, GcReport, GcState};
use crate::metrics::{CounterBy, Gauge, Labels, Registry, begin_at_zero};
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
    gc: GcFamilies,
}

/// Of comparisons of stores with the ledger.
#[derive(Debug, Default)]
struct GcFamilies {
    running: Gauge,
    runs: CounterBy<1>,
    files: CounterBy<1>,
    unknown: Gauge,
    missing: Gauge,
}

const ADOPTED: Labels<1> = [("outcome", "adopted")];
const DELETED: Labels<1> = [("outcome", "deleted")];
const LEFT: Labels<1> = [("outcome", "left")];

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
            gc: GcFamilies::default(),
        };
        begin_at_zero(&families.variants, Format::ALL.map(labels));
        begin_at_zero(&families.variant_bytes, Format::ALL.map(labels));
        begin_at_zero(&families.erased, ErasureReason::ALL.map(|reason| [("reason", reason.as_str())]));
        let states = [GcState::Done, GcState::Failed, GcState::Stopped];
        begin_at_zero(&families.gc.runs, states.map(|state| [("state", state.as_str())]));
        begin_at_zero(&families.gc.files, [ADOPTED, DELETED, LEFT]);
        Self(Arc::new(families))
    }
}

impl WorkerMetrics {
    /// Under their names.
    pub fn register(&self, registry: &mut Registry) {
        let Families { variants, variant_bytes, erased, steps, gc } = &*self.0;
        registry.register("pixerve_variants", "Variants made", variants.clone());
        registry.register("pixerve_variant_bytes", "Bytes of the variants made", variant_bytes.clone());
        registry.register("pixerve_jobs_erased", "Jobs erased, with all that was stored of them", erased.clone());
        steps.register(registry);
        gc.register(registry);
    }

    /// A comparison of stores with the ledger has begun.
    pub(super) fn gc_begun(&self) {
        self.0.gc.running.set(1);
    }

    /// It has ended, with this report.
    pub(super) fn gc_ended(&self, state: GcState, report: &GcReport) {
        let GcFamilies { running, runs, files, unknown, missing } = &self.0.gc;
        running.set(0);
        runs.get_or_create(&[("state", state.as_str())]).inc();
        for (labels, count) in [(ADOPTED, report.adopted.files), (DELETED, report.deleted.files), (LEFT, report.left)] {
            files.get_or_create(&labels).inc_by(count);
        }
        if state == GcState::Done {
            unknown.set(i64::try_from(report.unknown.files).unwrap_or(i64::MAX));
            missing.set(i64::try_from(report.missing.files).unwrap_or(i64::MAX));
        }
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

impl GcFamilies {
    fn register(&self, registry: &mut Registry) {
        let Self { running, runs, files, unknown, missing } = self;
        let help = "Whether this node compares stores with the ledger";
        registry.register("pixerve_gc_running", help, running.clone());
        registry.register("pixerve_gc_runs", "Comparisons of stores with the ledger by how they ended", runs.clone());
        let help = "Files that comparisons have adopted or deleted, or left though they were to be deleted";
        registry.register("pixerve_gc_files", help, files.clone());
        let help = "Files that nobody knew, as of the last whole comparison of this node";
        registry.register("pixerve_gc_unknown_files", help, unknown.clone());
        let help = "Files that the ledger knew and no store had, as of the last whole comparison of this node";
        registry.register("pixerve_gc_missing_files", help, missing.clone());
    }
}
