//! What every process tells of itself, under the names that exporters use.

use std::sync::atomic::{AtomicU64, Ordering};

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo, boot_time_secs, ticks_per_second};
use prometheus_client::metrics::counter::Counter;

use super::{FloatGauge, Gauge, Registry};

/// Levels of this process; its children are counted apart.
#[derive(Debug, Default)]
pub(super) struct ProcessMetrics {
    cpu_seconds: Counter<f64, AtomicU64>,
    resident_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    start_seconds: FloatGauge,
}

impl ProcessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "process_cpu_seconds",
            "CPU time of the server, without its children",
            self.cpu_seconds.clone(),
        );
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory of the server",
            self.resident_bytes.clone(),
        );
        registry.register("process_open_fds", "Open file descriptors", self.open_fds.clone());
        registry.register("process_max_fds", "File descriptors that may be open", self.max_fds.clone());
        registry.register(
            "process_start_time_seconds",
            "Start of the server since the Unix epoch",
            self.start_seconds.clone(),
        );
    }

    /// What can't be read stays as it was.
    pub(super) fn read(&self) {
        if let Err(error) = self.try_read() {
            tracing::debug!(%error, "process can't read its own figures");
        }
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "far below 2^52")]
    fn try_read(&self) -> ProcResult<()> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
        let cpu = seconds(stat.utime + stat.stime);
        self.cpu_seconds.inner().store(cpu.to_bits(), Ordering::Relaxed);
        self.resident_bytes.set(stat.rss_bytes().get() as i64);
        self.open_fds.set(process.fd_count()? as i64);
        if let LimitValue::Value(max) = process.limits()?.max_open_files.soft_limit {
            self.max_fds.set(max as i64);
        }
        self.start_seconds.set(boot_time_secs()? as f64 + seconds(stat.starttime));
        Ok(())
    }
}
