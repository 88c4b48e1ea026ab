//! What settings must be to each other.

use std::path::{Component, Path, PathBuf, absolute};
use std::time::Duration;

use humantime::format_duration;

use super::reader::Reader;
use super::settings::Config;
use crate::sandbox::SandboxMode;
use crate::writer::ServeKind;

/// The smallest buffer for headers that the HTTP library works with.
const HEADERS_BYTES_LEAST: u32 = 8 * 1024;

/// The shortest lease of jobs that many nodes share: a call that Redis doesn't answer takes two seconds of it.
const SHARED_LEASE_LEAST: Duration = Duration::from_secs(5);

/// Notes every relation that does not hold.
pub(super) fn relations(config: &Config, reader: &mut Reader) {
    numbers(config, reader);
    nodes(config, reader);
    durations(config, reader);
    directories(config, reader);
    private_files(config, reader);
    bucket(config, reader);
    served(config, reader);
    let is_built_in = config.worker.avif_engine.is_built_in();
    reader.check(&["worker.avif_engine"], is_built_in, || {
        "worker.avif_engine is \"aom\", but this program was built without the cargo feature aom".to_owned()
    });
}

/// What many nodes need, and what only they can use.
fn nodes(config: &Config, reader: &mut Reader) {
    let (queue, spool) = (config.redis.url.is_some(), config.spool.bucket.url.is_some());
    reader.check(&["queue.url", "spool.url"], queue == spool, || {
        "queue.url and spool.url go together: many nodes share a queue on Redis and originals in a bucket, and one machine \
         has both on its disk"
            .to_owned()
    });
    reader.check(&["queue.sentinels", "queue.url"], queue || config.redis.sentinels.is_empty(), || {
        "queue.sentinels is set without queue.url: its host is the name under which they watch the queue's Redis, \
         redis://NAME/DATABASE"
            .to_owned()
    });
    let is_confined = config.sandbox.sandbox != SandboxMode::Off;
    reader.check(&["worker.sandbox", "queue.url"], is_confined || !queue, || {
        "worker.sandbox is \"off\", and queue.url is set: a job that takes its node along must not take along those of all \
         other nodes, one after the other"
            .to_owned()
    });
    let (lease, grace) = (config.worker.lease, config.stores.cancel_grace);
    let has_time_to_stop = lease >= SHARED_LEASE_LEAST && lease > grace * 3;
    reader.check(&["queue.lease", "queue.url", "stores.cancel_grace"], has_time_to_stop || !queue, || {
        let [lease, grace, shortest] = [lease, grace, SHARED_LEASE_LEAST].map(format_duration);
        format!(
            "queue.lease ({lease}) must be at least {shortest}, and more than three times stores.cancel_grace ({grace}), where \
             queue.url is set: in the last third of it a node that can't renew it stops, before the job is another's"
        )
    });
    let takes_all = config.node.roles.api && config.node.roles.worker;
    reader.check(&["node.roles", "queue.url"], takes_all || queue, || {
        "node.roles leaves out what no other node can take: without queue.url this machine is the only one".to_owned()
    });
}

fn numbers(config: &Config, reader: &mut Reader) {
    let bytes = config.server.connections.headers_bytes_max;
    reader.check(&["server.headers_bytes_max"], bytes >= HEADERS_BYTES_LEAST, || {
        format!("server.headers_bytes_max ({bytes} bytes) must be at least {HEADERS_BYTES_LEAST} bytes")
    });
    let (all, one) = (config.queue.depth_max, config.queue.owner_depth_max);
    reader.check(&["queue.depth_max", "queue.owner_depth_max"], one <= all, || {
        format!("queue.owner_depth_max ({one}) must not be above queue.depth_max ({all})")
    });
}

fn durations(config: &Config, reader: &mut Reader) {
    let (lease, renew) = (config.worker.lease, config.worker.lease_renew);
    reader.check(&["queue.lease", "queue.lease_renew"], lease > renew * 2, || {
        let (lease, renew) = (format_duration(lease), format_duration(renew));
        format!("queue.lease ({lease}) must be more than twice queue.lease_renew ({renew}): one renewal may be late")
    });
    let (attempts, stores) = (config.worker.backoff, config.stores.backoff);
    let ordered = [
        (("queue.backoff_min", attempts.backoff_min), ("queue.backoff_max", attempts.backoff_max)),
        (("stores.backoff_min", stores.backoff_min), ("stores.backoff_max", stores.backoff_max)),
        (("callback.connect_timeout", config.callback.connect_timeout), ("callback.timeout", config.callback.timeout)),
    ];
    for ((lesser, small), (greater, large)) in ordered {
        reader.check(&[lesser, greater], small <= large, || {
            let (small, large) = (format_duration(small), format_duration(large));
            format!("{lesser} ({small}) must not be above {greater} ({large})")
        });
    }
}

fn bucket(config: &Config, reader: &mut Reader) {
    let bucket = &config.spool.bucket;
    if bucket.url.is_none() {
        return;
    }
    let is_whole = bucket.access_key_id.is_some() == bucket.secret_access_key.is_some();
    reader.check(&["spool.access_key_id", "spool.secret_access_key"], is_whole, || {
        "spool.access_key_id and spool.secret_access_key go together: set both, or neither for the credentials of the AWS \
         environment"
            .to_owned()
    });
    reader.check(&["spool.url"], cfg!(feature = "s3"), || {
        "spool.url is set, but this program was built without the cargo feature s3".to_owned()
    });
    // An original that outlived its job's record would come back as a new job.
    let (keep, retention) = (config.spool.keep_after_end, config.worker.retention);
    reader.check(&["spool.keep_after_end", "queue.retention"], keep < retention, || {
        let (keep, retention) = (format_duration(keep), format_duration(retention));
        format!("spool.keep_after_end ({keep}) must be below queue.retention ({retention})")
    });
}

/// Where files are served from there must be, and only what is in a bucket can others send.
fn served(config: &Config, reader: &mut Reader) {
    let why = config.serve.why_unusable(config.spool.bucket.url.as_ref());
    reader.check(&["serve", "spool.url"], why.is_none(), || why.unwrap_or_default());
    let redirects = config.serve == ServeKind::Directory && config.serve_redirect.is_some();
    reader.check(&["serve", "serve_redirect"], !redirects, || {
        "serve_redirect is set, but serve is \"directory\": only what is in a bucket can be sent from elsewhere"
            .to_owned()
    });
}

/// Whatever lies in the served directory, anyone may fetch.
fn directories(config: &Config, reader: &mut Reader) {
    let Some(served_dir) = config.served_dir() else { return };
    let served = plain(served_dir);
    let private = [
        ("data_dir", Some(&*config.data_dir)),
        ("presets_dir", config.presets_dir.as_deref()),
        ("private_dir", config.private_files_dir()),
        ("jwt_file", Some(&*config.auth.jwt_file)),
        ("vault_key_file", config.vault_key_file.as_deref()),
        ("log_file", config.log.log_file.as_deref()),
        ("node.scratch_dir", config.spool.scratch_dir.as_deref()),
    ];
    for (key, path) in private {
        let Some(path) = path else { continue };
        reader.check(&[key, "serve_dir"], !plain(path).starts_with(&served), || {
            let (path, served) = (path.display(), served_dir.display());
            format!("{key} ({path}) must not lie in serve_dir ({served}): what is there is served to anyone")
        });
    }
}

/// What is private lies apart from all else. Links are followed at the start, when all directories are there.
fn private_files(config: &Config, reader: &mut Reader) {
    let Some(private_dir) = config.private_files_dir() else { return };
    let private = plain(private_dir);
    let others = [("serve_dir", config.served_dir()), ("data_dir", Some(&*config.data_dir))];
    for (key, path) in others {
        let Some(path) = path else { continue };
        reader.check(&[key, "private_dir"], !plain(path).starts_with(&private), || {
            let (path, private) = (path.display(), private_dir.display());
            format!("{key} ({path}) must not be or lie in private_dir ({private}), which is for private files alone")
        });
    }
}

/// `path` from the root, without `.` and `..`; links are not followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
