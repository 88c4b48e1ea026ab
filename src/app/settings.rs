//! From the settings as people write them to each room's own.

use std::time::Duration;

use crate::auth;
use crate::callback::CallbackSettings;
use crate::config::Config;
use crate::pipeline::{MemoryLimit, PixelLimits};
use crate::queue::QueueSettings;
use crate::routes::{HttpSettings, RateSettings};
use crate::worker::{WorkerSettings, half_of_memory};
use crate::writer::{RetrySettings, StoreTimeouts};

use super::listener::ConnectionLimits;

pub(super) fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: config.server.header_timeout,
        connections_max: config.server.connections_max,
        http2_streams_max: config.server.http2_streams_max,
        headers_bytes_max: config.server.headers_bytes_max,
        headers_max: config.server.headers_max,
        write_timeout: config.server.write_timeout,
    }
}

pub(super) fn http_settings(config: &Config) -> HttpSettings {
    HttpSettings {
        body_bytes_max: config.server.body_bytes_max,
        body_grace: config.server.body_grace,
        body_bytes_per_sec_min: config.server.body_rate_min,
        parts_max: config.server.parts_max,
        part_header_bytes_max: config.server.part_header_bytes_max as u64,
        free_disk_min: config.storage.free_disk_min,
        data_dir: config.storage.data_dir.clone(),
        queue_depth_max: config.queue.depth_max,
        workers: config.worker.max_workers,
    }
}

pub(super) fn rate_settings(config: &Config) -> RateSettings {
    RateSettings {
        per_address: config.server.rate_per_address,
        per_user: config.server.rate_per_user,
        trusted_proxies: config.server.trusted_proxies.clone(),
    }
}

pub(super) fn queue_settings(config: &Config) -> QueueSettings {
    QueueSettings {
        depth_max: config.queue.depth_max,
        owner_depth_max: config.queue.owner_depth_max,
        attempts_max: config.queue.attempts_max,
        crashes_max: config.queue.crashes_max,
        realtime_run_max: config.queue.realtime_run_max,
        ..QueueSettings::default()
    }
}

pub(super) fn worker_settings(config: &Config) -> WorkerSettings {
    WorkerSettings {
        workers: config.worker.max_workers,
        lease: config.queue.lease,
        lease_renew: config.queue.lease_renew,
        job_timeout: config.worker.job_timeout,
        retention: config.queue.retention,
        ..WorkerSettings::default()
    }
}

pub(super) fn auth_settings(config: &Config) -> auth::Settings {
    auth::Settings {
        lifetime_max_s: whole_secs(config.auth.lifetime_max),
        leeway_s: whole_secs(config.auth.leeway),
        issuer: config.auth.issuer.clone(),
        audience: config.auth.audience.clone(),
        ..auth::Settings::default()
    }
}

pub(super) fn pixel_limits(config: &Config) -> PixelLimits {
    PixelLimits {
        source_pixels_max: config.pixels.source_max,
        output_pixels_max: config.pixels.output_max,
        ..PixelLimits::default()
    }
}

/// Bytes of memory that all jobs together may take.
pub(super) fn memory_budget(config: &Config) -> u64 {
    config.worker.memory_budget.unwrap_or_else(half_of_memory)
}

/// What one job may need: never more than all of them.
pub(super) fn memory_limit(config: &Config, budget: u64) -> MemoryLimit {
    MemoryLimit {
        bytes_max: config.worker.memory_max.min(budget),
        threads: config.worker.encode_threads,
        pixels: pixel_limits(config),
    }
}

pub(super) fn retry_settings(config: &Config) -> RetrySettings {
    RetrySettings {
        tries: usize::try_from(config.stores.tries_max).unwrap_or(usize::MAX),
        delay_min: config.stores.backoff_min,
        delay_max: config.stores.backoff_max,
        ..RetrySettings::default()
    }
}

pub(super) fn store_timeouts(config: &Config) -> StoreTimeouts {
    StoreTimeouts { connect: config.stores.connect_timeout, idle: config.stores.idle_timeout }
}

pub(super) fn callback_settings(config: &Config) -> CallbackSettings {
    CallbackSettings {
        allow: config.callback.allow.clone(),
        timeout: config.callback.timeout,
        connect_timeout: config.callback.connect_timeout,
        concurrency: config.callback.concurrency,
        ..CallbackSettings::default()
    }
}

fn whole_secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
