//! What numbers, sizes and durations may be: beyond these bounds is a slip, which would stop the server later or in the
//! midst of work.

use std::time::Duration;

use humantime::format_duration;

use super::reader::Reader;
use crate::pipeline::JOB_BYTES_MIN;
use crate::setting;

/// The least and the most that a setting may be.
#[derive(Clone, Copy, Debug)]
enum Bounds {
    Time(Duration, Duration),
    Bytes(u64, u64),
    Number(f64, f64),
    /// In millions.
    Megapixels(u64, u64),
}

use Bounds::{Bytes, Megapixels, Number, Time};

const MS: Duration = Duration::from_millis(1);
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);
const DECADE: Duration = Duration::from_hours(10 * 365 * 24);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Every setting that is a number of some kind, but for `max_workers`, which is clamped.
const BOUNDS: &[(&str, Bounds)] = &[
    ("log_files_kept", Number(0.0, 1e5)),
    ("log_bytes_max", Bytes(0, TIB)),
    ("server.header_timeout", Time(TENTH, HOUR)),
    ("server.body_grace", Time(TENTH, HOUR)),
    ("server.body_rate_min", Bytes(1, GIB)),
    ("server.keep_alive_timeout", Time(TENTH, DAY)),
    ("server.response_rate_min", Bytes(0, GIB)),
    ("server.connections_per_address_max", Number(0.0, 1e6)),
    ("server.write_timeout", Time(TENTH, HOUR)),
    ("server.rate_per_address", Number(0.0, 1e6)),
    ("server.rate_per_user", Number(0.0, 1e6)),
    ("server.body_bytes_max", Bytes(KIB, TIB)),
    ("server.connections_max", Number(1.0, 1e6)),
    ("server.http2_streams_max", Number(1.0, 1e4)),
    ("server.headers_bytes_max", Bytes(1, MIB)),
    ("server.headers_max", Number(1.0, 1e4)),
    ("server.parts_max", Number(1.0, 1e3)),
    ("server.part_header_bytes_max", Bytes(64, MIB)),
    ("server.drain_timeout", Time(MS, HOUR)),
    ("auth.lifetime_max", Time(SECOND, DECADE)),
    ("auth.leeway", Time(Duration::ZERO, HOUR)),
    ("storage.free_disk_min", Bytes(0, 1024 * TIB)),
    ("spool.keep_after_end", Time(Duration::ZERO, DAY)),
    ("queue.depth_max", Number(1.0, 1e7)),
    ("queue.owner_depth_max", Number(1.0, 1e7)),
    ("queue.attempts_max", Number(1.0, 1e3)),
    ("queue.backoff_min", Time(MS, YEAR)),
    ("queue.backoff_factor", Number(1.0, 1e3)),
    ("queue.backoff_max", Time(MS, YEAR)),
    ("queue.crashes_max", Number(1.0, 1e3)),
    ("queue.lease", Time(SECOND, DAY)),
    ("queue.lease_renew", Time(TENTH, DAY)),
    ("erase.within", Time(TENTH, MINUTE)),
    ("erase.purge_within", Time(SECOND, YEAR)),
    ("queue.retention", Time(MINUTE, DECADE)),
    ("queue.failed_originals_kept", Time(Duration::ZERO, YEAR)),
    ("queue.realtime_run_max", Number(1.0, 1e6)),
    ("worker.encode_threads", Number(0.0, 1024.0)),
    ("worker.job_timeout", Time(SECOND, DAY)),
    ("worker.decode_timeout", Time(TENTH, DAY)),
    ("worker.sandbox_idle_timeout", Time(Duration::ZERO, DAY)),
    ("worker.memory_max", Bytes(JOB_BYTES_MIN, 16 * TIB)),
    ("worker.memory_budget", Bytes(JOB_BYTES_MIN, 16 * TIB)),
    ("pixels.source_max", Megapixels(1, 100_000)),
    ("pixels.source_whole_max", Megapixels(1, 100_000)),
    ("pixels.variants_max", Number(1.0, 1e4)),
    ("pixels.output_max", Megapixels(1, 100_000)),
    ("stores.connect_timeout", Time(TENTH, HOUR)),
    ("stores.idle_timeout", Time(TENTH, DAY)),
    ("stores.give_up_after", Time(MS, YEAR)),
    ("stores.refused_give_up_after", Time(Duration::ZERO, YEAR)),
    ("stores.concurrency", Number(1.0, 1e4)),
    ("stores.backoff_min", Time(MS, DAY)),
    ("stores.backoff_factor", Number(1.0, 1e3)),
    ("stores.backoff_max", Time(MS, DAY)),
    // Longer than that the lease reaper does not wait for an attempt to stop.
    ("stores.cancel_grace", Time(Duration::ZERO, Duration::from_secs(5))),
    ("callback.timeout", Time(TENTH, MINUTE)),
    ("callback.connect_timeout", Time(TENTH, MINUTE)),
    ("callback.concurrency", Number(1.0, 1e4)),
    ("callback.concurrency_per_host", Number(1.0, 1e4)),
];

/// Notes every setting that is out of its bounds. One whose text can't be understood has been noted as such.
pub(super) fn check(reader: &mut Reader) {
    for (key, bounds) in BOUNDS {
        let Some(text) = reader.text_of(key).map(|text| text.trim().to_owned()) else { continue };
        let Some(outside) = bounds.why_outside(&text) else { continue };
        reader.check(&[key], false, || format!("{key} is {text:?}, which is {outside}"));
    }
}

impl Bounds {
    /// What is wrong with a value, in words; none if nothing is, or if it is none of this kind.
    fn why_outside(self, text: &str) -> Option<String> {
        let (is_below, is_above, least, most) = match self {
            Time(least, most) => {
                let time = setting::parse_duration(text)?;
                (time < least, time > most, format_duration(least).to_string(), format_duration(most).to_string())
            }
            Bytes(least, most) => {
                let bytes = setting::parse_bytes(text)?;
                (bytes < least, bytes > most, size(least), size(most))
            }
            Number(least, most) => {
                let number: f64 = text.parse().ok()?;
                (number < least, number > most, least.to_string(), most.to_string())
            }
            Megapixels(least, most) => {
                let pixels = setting::parse_pixels(text)?;
                (pixels < least, pixels > most * 1_000_000, "1".to_owned(), format!("{most} MP"))
            }
        };
        if is_below {
            Some(format!("less than the least, {least}"))
        } else {
            is_above.then(|| format!("more than the most, {most}"))
        }
    }
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::BOUNDS;
    use crate::config::Config;

    /// Settings that are no number, and `max_workers`.
    const WITHOUT: [&str; 44] = [
        "addr",
        "data_dir",
        "serve",
        "serve_dir",
        "serve_redirect",
        "private_dir",
        "storage.unique",
        "max_workers",
        "jwt_file",
        "jwt_secret",
        "vault_key_file",
        "presets_dir",
        "paused",
        "log",
        "log_format",
        "log_file",
        "log_rotation",
        "server.trusted_proxies",
        "auth.issuer",
        "auth.audience",
        "node.scratch_dir",
        "spool.url",
        "spool.endpoint",
        "spool.region",
        "spool.access_key_id",
        "spool.secret_access_key",
        "spool.path_style",
        "worker.avif_engine",
        "worker.sandbox",
        "callback.allow",
        "callback.secret",
        "callback.retry_waits",
        "metrics.addr",
        "metrics.token",
        "node.roles",
        "queue.url",
        "queue.sentinels",
        "images.client_hints",
        "server.docs",
        "server.http2",
        "server.public_url",
        "server.cors_origins",
        "server.page",
        // As the claim of that name: whatever reads it holds it to the same bounds.
        "storage.expires_after",
    ];

    #[test]
    fn every_setting_that_is_a_number_has_bounds() {
        let bounded: BTreeSet<_> = BOUNDS.iter().map(|(key, _)| (*key).to_owned()).collect();
        let without: BTreeSet<_> = WITHOUT.iter().map(|key| (*key).to_owned()).collect();
        let settings: BTreeSet<_> = Config::setting_names().into_iter().collect();
        let missing: Vec<_> = settings.difference(&bounded).filter(|key| !without.contains(*key)).collect();
        assert!(missing.is_empty(), "{missing:?} belong into BOUNDS of config/bounds.rs");
        assert!(bounded.is_subset(&settings), "{:?} are no settings", bounded.difference(&settings));
    }
}
