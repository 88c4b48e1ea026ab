//! Everything that is told to a monitoring system: what the rooms count, and the levels of what they hold.

use std::sync::Arc;

use tokio::sync::watch;

use super::usage_monitor::Usage;
use crate::active_jobs::ActiveJobs;
use crate::callback::CallbackMetrics;
use crate::clock::{SharedClock, Timestamp};
use crate::disks::{DiskHealth, RootKind};
use crate::job::Priority;
use crate::ledger::OwedEvents;
use crate::metrics::{
    FloatGauge, FloatGaugeBy, Gauge, GaugeBy, Labels, Metrics, MetricsBuilder, Registry, begin_at_zero,
};
use crate::nodes::NodesStatus;
use crate::queue::{JobQueue, LaneCounts};
use crate::routes::HttpMetrics;
use crate::version::VERSION;
use crate::worker::{Renderer, WorkerContext};
use crate::writer::BACKENDS;

/// What is asked for levels.
pub(super) struct Sources<'a> {
    pub(super) worker: &'a WorkerContext,
    pub(super) http: &'a HttpMetrics,
    pub(super) callbacks: &'a CallbackMetrics,
    pub(super) usage: &'a Usage,
    /// What is known of the others, where nodes share a queue.
    pub(super) nodes: Option<watch::Receiver<NodesStatus>>,
}

/// All of it.
pub(super) fn metrics(sources: &Sources<'_>) -> Metrics {
    let Sources { worker, http, callbacks, usage, nodes } = sources;
    let mut builder = MetricsBuilder::default();
    let registry = builder.registry();
    let build = GaugeBy::<2>::default();
    build.get_or_create(&[("version", VERSION.version), ("git_commit", VERSION.git_commit)]).set(1);
    registry.register("pixerve_build_info", "What was built", build);
    http.register(registry);
    worker.queue.metrics().register(registry);
    worker.metrics.register(registry);
    worker.stores.metrics().register(registry);
    callbacks.register(registry);
    if let Renderer::Sandboxed(sandbox) = &worker.renderer {
        sandbox.metrics().register(registry);
    }
    usage.register(registry);
    let levels = Levels::default();
    levels.register(registry);
    let shared = nodes.clone().map(|status| (SharedLevels::default(), status));
    if let Some((levels, _)) = &shared {
        levels.register(registry);
    }
    let (queue, active_jobs) = (Arc::clone(&worker.queue), worker.active_jobs.clone());
    let (disks, clock, stores) = (worker.disks.clone(), Arc::clone(&worker.clock), worker.stores.clone());
    let (memory, erasures) = (worker.memory.clone(), worker.erasures.clone());
    builder.read(move || {
        levels.read_queue(&*queue, erasures.owed_events(), &clock);
        levels.read_storing(&active_jobs, stores.outages(), &clock);
        levels.memory_budget.set(whole(memory.bytes()));
        levels.memory_reserved.set(whole(memory.reserved()));
        levels.read_disks(&disks);
        levels.erasures.set(whole(erasures.running() as u64));
        if let Some((levels, status)) = &shared {
            levels.read(&status.borrow());
        }
    });
    builder.build()
}

/// What is read when someone asks.
#[derive(Debug, Default)]
struct Levels {
    jobs: GaugeBy<2>,
    oldest_pending: FloatGaugeBy<1>,
    callbacks: Gauge,
    oldest_callback: FloatGauge,
    memory_budget: Gauge,
    memory_reserved: Gauge,
    disk_free: GaugeBy<1>,
    breakers_open: GaugeBy<1>,
    storing_oldest: FloatGaugeBy<1>,
    erasures: Gauge,
}

impl Levels {
    fn register(&self, registry: &mut Registry) {
        begin_at_zero(&self.disk_free, RootKind::ALL.map(root));
        registry.register("pixerve_jobs", "Jobs that have not ended", self.jobs.clone());
        let help = "How long ago the oldest job was accepted that waits";
        registry.register("pixerve_queue_oldest_pending_seconds", help, self.oldest_pending.clone());
        registry.register(
            "pixerve_callbacks_pending",
            "Callbacks that are owed, of erased jobs too",
            self.callbacks.clone(),
        );
        let help = "How long ago that happened of which the oldest owed callback tells";
        registry.register("pixerve_callback_oldest_pending_seconds", help, self.oldest_callback.clone());
        let help = "Memory that all jobs together may take";
        registry.register("pixerve_memory_budget_bytes", help, self.memory_budget.clone());
        let help = "Memory that is set aside for jobs under way";
        registry.register("pixerve_memory_reserved_bytes", help, self.memory_reserved.clone());
        let help = "Free space on the disks of the data and the serve directory, as of the last look";
        registry.register("pixerve_disk_free_bytes", help, self.disk_free.clone());
        let help = "Stores that can't be reached, of those that jobs were written to";
        registry.register("pixerve_store_breakers_open", help, self.breakers_open.clone());
        let help = "How long ago the oldest job was made that is still being stored";
        registry.register("pixerve_storing_oldest_seconds", help, self.storing_oldest.clone());
        registry.register("pixerve_erasures_running", "Erasures that have not ended", self.erasures.clone());
    }

    /// Callbacks that the queue owes and the events that the ledger does are one to whoever waits for them.
    fn read_queue(&self, queue: &dyn JobQueue, events: OwedEvents, clock: &SharedClock) {
        let backlog = queue.backlog();
        for (priority, lane) in Priority::ALL.into_iter().zip(backlog.lanes) {
            let LaneCounts { pending, making, storing, oldest_pending } = lane;
            let priority = ("priority", priority.as_str());
            for (state, count) in [("pending", pending), ("making", making), ("storing", storing)] {
                self.jobs.get_or_create(&[("state", state), priority]).set(whole(count));
            }
            self.oldest_pending.get_or_create(&[priority]).set(age(oldest_pending, clock));
        }
        self.callbacks.set(whole(backlog.callbacks.count + events.count));
        let oldest = backlog.callbacks.oldest.into_iter().chain(events.oldest).min();
        self.oldest_callback.set(age(oldest, clock));
    }

    fn read_storing(&self, jobs: &ActiveJobs, outages: [(&'static str, usize); BACKENDS.len()], clock: &SharedClock) {
        let since = jobs.storing_since();
        for (backend, open) in outages {
            let labels = [("backend", backend)];
            self.breakers_open.get_or_create(&labels).set(whole(open as u64));
            self.storing_oldest.get_or_create(&labels).set(age(since.get(backend).copied(), clock));
        }
    }

    fn read_disks(&self, disks: &DiskHealth) {
        for kind in RootKind::ALL {
            // What is in no directory of its own fills no disk but that of the data directory, on its way.
            let of = if disks.has(kind) { kind } else { RootKind::Data };
            if let Some(free) = disks.root(of).free_bytes {
                self.disk_free.get_or_create(&root(kind)).set(whole(free));
            }
        }
    }
}

/// What a node knows of Redis and of the others, as of its last beat.
#[derive(Debug, Default)]
struct SharedLevels {
    nodes: GaugeBy<1>,
    round_trip: FloatGauge,
    silent_for: FloatGauge,
    memory: Gauge,
    memory_max: Gauge,
    times_emptied: Gauge,
}

impl SharedLevels {
    fn register(&self, registry: &mut Registry) {
        begin_at_zero(&self.nodes, [[("role", "api")], [("role", "worker")]]);
        registry.register("pixerve_nodes", "Live nodes that don't drain, by what they take", self.nodes.clone());
        let help = "How long Redis took for the last beat";
        registry.register("pixerve_redis_round_trip_seconds", help, self.round_trip.clone());
        let help = "How long ago Redis answered last";
        registry.register("pixerve_redis_silent_seconds", help, self.silent_for.clone());
        registry.register("pixerve_redis_memory_bytes", "Memory that Redis uses", self.memory.clone());
        let help = "Memory that Redis may use; 0 if that is not limited";
        registry.register("pixerve_redis_memory_max_bytes", help, self.memory_max.clone());
        let help = "How often Redis was found empty while this node ran";
        registry.register("pixerve_redis_emptied", help, self.times_emptied.clone());
    }

    fn read(&self, status: &NodesStatus) {
        if let Some(heard) = &status.heard {
            self.round_trip.set(heard.round_trip.as_secs_f64());
            for (role, count) in [("api", heard.api_nodes), ("worker", heard.workers)] {
                self.nodes.get_or_create(&[("role", role)]).set(i64::from(count));
            }
        }
        self.silent_for.set(status.age().unwrap_or_default().as_secs_f64());
        if let Some(memory) = status.memory {
            self.memory.set(whole(memory.used));
            self.memory_max.set(whole(memory.max.unwrap_or(0)));
        }
        self.times_emptied.set(whole(status.times_emptied));
    }
}

fn root(kind: RootKind) -> Labels<1> {
    [("dir", kind.name())]
}

/// Seconds since then; 0 if there is nothing.
fn age(since: Option<Timestamp>, clock: &SharedClock) -> f64 {
    since.map_or(0.0, |since| clock.now().since(since).as_secs_f64())
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
