//! All settings, typed. What each means in full stands in `config/default.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

use super::error::Warning;
use super::kind::{
    address, bytes, bytes_or_auto, bytes_or_zero, count, count_or_zero, duration, duration_or_zero, filter, networks,
    number_or_auto, one_of, optional, path, pixels, secret, text,
};
use super::reader::Reader;
use crate::encoder::AvifEngine;
use crate::sandbox::SandboxMode;
use crate::telemetry::{self, Format, Rotation};

/// The most jobs at once.
const WORKERS_MAX: usize = 10;

/// The settings of the server. Its `Debug` form redacts the secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// The port and its limits.
    pub server: Server,
    /// Who may do what.
    pub auth: Auth,
    /// The directories.
    pub storage: Storage,
    /// The queue and the records.
    pub queue: Queue,
    /// Those who do the work.
    pub worker: Worker,
    /// How much a job may ask for.
    pub pixels: Pixels,
    /// Talking to remote stores.
    pub stores: Stores,
    /// Telling the caller.
    pub callback: Callback,
    /// Logs.
    pub log: telemetry::Settings,
}

/// The port and its limits.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen.
    pub addr: SocketAddr,
    /// For the headers of a request.
    pub header_timeout: Duration,
    /// How long a body may be slower than `body_rate_min`.
    pub body_grace: Duration,
    /// Bytes a second on average.
    pub body_rate_min: u64,
    /// For a client that takes nothing of an answer.
    pub write_timeout: Duration,
    /// Requests a second of one address; 0 for no limit.
    pub rate_per_address: u32,
    /// Uploads a second of one user; 0 for no limit.
    pub rate_per_user: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of an uploaded file.
    pub body_bytes_max: u64,
    /// Connections open at once.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Bytes of the headers of a request; at least 8 KiB.
    pub headers_bytes_max: u32,
    /// Headers of a request.
    pub headers_max: usize,
    /// Parts of a multipart body.
    pub parts_max: usize,
    /// Bytes of the headers of a part.
    pub part_header_bytes_max: usize,
    /// For running jobs after a signal to stop.
    pub drain_timeout: Duration,
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The file of keys.
    pub jwt_file: PathBuf,
    /// A secret of at least 32 bytes that stands in for the file.
    pub jwt_secret: Option<SecretString>,
    /// The `iss` that tokens must carry.
    pub issuer: Option<String>,
    /// The `aud` that tokens must carry.
    pub audience: Option<String>,
    /// From `iat` to `exp`.
    pub lifetime_max: Duration,
    /// How far clocks may differ; may be zero.
    pub leeway: Duration,
}

/// The directories.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The databases and the spool.
    pub data_dir: PathBuf,
    /// What is served under `/files/`.
    pub serve_dir: PathBuf,
    /// Bytes to keep free; may be zero.
    pub free_disk_min: u64,
}

/// The queue and the records.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Live jobs.
    pub depth_max: usize,
    /// Live jobs of one owner; at most `depth_max`.
    pub owner_depth_max: usize,
    /// Tries of one job.
    pub attempts_max: u32,
    /// Deaths of the process that works on one job.
    pub crashes_max: u32,
    /// For how long a claim holds.
    pub lease: Duration,
    /// Between two renewals; less than half of `lease`.
    pub lease_renew: Duration,
    /// How long the record of an ended job is kept.
    pub retention: Duration,
    /// Realtime jobs in a row before a queued one.
    pub realtime_run_max: u32,
}

/// Those who do the work.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Jobs at once: 1 to 10.
    pub max_workers: usize,
    /// Threads that encode, at least 1.
    pub encode_threads: usize,
    /// What makes AVIF; one that is built in.
    pub avif_engine: AvifEngine,
    /// For one attempt.
    pub job_timeout: Duration,
    /// For decoding the original, where that is done in a child process.
    pub decode_timeout: Duration,
    /// Whether jobs run in child processes.
    pub sandbox: SandboxMode,
    /// For how long a child process waits for another job of the same owner.
    pub sandbox_idle_timeout: Duration,
    /// Bytes of memory of one child.
    pub memory_max: u64,
    /// Bytes of memory of all children; none for half of what there is.
    pub memory_budget: Option<u64>,
}

/// How much a job may ask for.
#[derive(Clone, Debug)]
pub struct Pixels {
    /// Pixels of a source, over the frames that are decoded.
    pub source_max: u64,
    /// Variants of a job.
    pub variants_max: usize,
    /// Pixels of all variants of a job.
    pub output_max: u64,
}

/// Talking to remote stores.
#[derive(Clone, Debug)]
pub struct Stores {
    /// For a connection.
    pub connect_timeout: Duration,
    /// What a transfer may take beyond the time its bytes take at 256 KiB/s.
    pub idle_timeout: Duration,
    /// Tries of one object within one attempt.
    pub tries_max: u32,
    /// Before the second try.
    pub backoff_min: Duration,
    /// Between any two; at least `backoff_min`.
    pub backoff_max: Duration,
}

/// Telling the caller.
#[derive(Clone, Debug)]
pub struct Callback {
    /// What may be reached besides public addresses.
    pub allow: Vec<IpNet>,
    /// For one delivery in all.
    pub timeout: Duration,
    /// For its connection; at most `timeout`.
    pub connect_timeout: Duration,
    /// Deliveries at once.
    pub concurrency: usize,
}

impl Config {
    pub(super) fn read(r: &mut Reader) -> Self {
        Self {
            server: read_server(r),
            auth: read_auth(r),
            storage: read_storage(r),
            queue: read_queue(r),
            worker: read_worker(r),
            pixels: read_pixels(r),
            stores: read_stores(r),
            callback: read_callback(r),
            log: read_log(r),
        }
    }
}

fn read_server(r: &mut Reader) -> Server {
    Server {
        addr: r.read("addr", &address()),
        header_timeout: r.read("server.header_timeout", &duration()),
        body_grace: r.read("server.body_grace", &duration()),
        body_rate_min: r.read("server.body_rate_min", &bytes()),
        write_timeout: r.read("server.write_timeout", &duration()),
        rate_per_address: r.read("server.rate_per_address", &count_or_zero()),
        rate_per_user: r.read("server.rate_per_user", &count_or_zero()),
        trusted_proxies: r.read("server.trusted_proxies", &networks()),
        body_bytes_max: r.read("server.body_bytes_max", &bytes()),
        connections_max: r.read("server.connections_max", &count()),
        http2_streams_max: r.read("server.http2_streams_max", &count()),
        headers_bytes_max: r.read("server.headers_bytes_max", &bytes()),
        headers_max: r.read("server.headers_max", &count()),
        parts_max: r.read("server.parts_max", &count()),
        part_header_bytes_max: r.read("server.part_header_bytes_max", &bytes()),
        drain_timeout: r.read("server.drain_timeout", &duration()),
    }
}

fn read_auth(r: &mut Reader) -> Auth {
    Auth {
        jwt_file: r.read("jwt_file", &path()),
        jwt_secret: r.read("jwt_secret", &optional(secret())),
        issuer: r.read("auth.issuer", &optional(text())),
        audience: r.read("auth.audience", &optional(text())),
        lifetime_max: r.read("auth.lifetime_max", &duration()),
        leeway: r.read("auth.leeway", &duration_or_zero()),
    }
}

fn read_storage(r: &mut Reader) -> Storage {
    Storage {
        data_dir: r.read("data_dir", &path()),
        serve_dir: r.read("serve_dir", &path()),
        free_disk_min: r.read("storage.free_disk_min", &bytes_or_zero()),
    }
}

fn read_queue(r: &mut Reader) -> Queue {
    Queue {
        depth_max: r.read("queue.depth_max", &count()),
        owner_depth_max: r.read("queue.owner_depth_max", &count()),
        attempts_max: r.read("queue.attempts_max", &count()),
        crashes_max: r.read("queue.crashes_max", &count()),
        lease: r.read("queue.lease", &duration()),
        lease_renew: r.read("queue.lease_renew", &duration()),
        retention: r.read("queue.retention", &duration()),
        realtime_run_max: r.read("queue.realtime_run_max", &count()),
    }
}

fn read_worker(r: &mut Reader) -> Worker {
    let cpus = available_parallelism().map_or(1, usize::from);
    Worker {
        max_workers: read_max_workers(r, cpus),
        encode_threads: match r.read("worker.encode_threads", &count_or_zero()) {
            0 => cpus,
            threads => threads,
        },
        avif_engine: r.read(
            "worker.avif_engine",
            &one_of(&[("auto", AvifEngine::Auto), ("ravif", AvifEngine::Ravif), ("aom", AvifEngine::Aom)]),
        ),
        job_timeout: r.read("worker.job_timeout", &duration()),
        decode_timeout: r.read("worker.decode_timeout", &duration()),
        sandbox: r.read(
            "worker.sandbox",
            &one_of(&[("on", SandboxMode::On), ("strict", SandboxMode::Strict), ("off", SandboxMode::Off)]),
        ),
        sandbox_idle_timeout: r.read("worker.sandbox_idle_timeout", &duration_or_zero()),
        memory_max: r.read("worker.memory_max", &bytes()),
        memory_budget: r.read("worker.memory_budget", &bytes_or_auto()),
    }
}

fn read_max_workers(r: &mut Reader, cpus: usize) -> usize {
    let key = "max_workers";
    let Some(given) = r.read(key, &number_or_auto()) else {
        // Decoding and resizing use one core: with one job in flight a second one would idle meanwhile.
        return (cpus - 1).clamp(cpus.min(2), WORKERS_MAX);
    };
    let used = usize::try_from(given.max(1)).unwrap_or(WORKERS_MAX).min(WORKERS_MAX);
    if usize::try_from(given) != Ok(used) {
        r.warn(Warning::Clamped { key, given, used });
    }
    used
}

fn read_pixels(r: &mut Reader) -> Pixels {
    Pixels {
        source_max: r.read("pixels.source_max", &pixels()),
        variants_max: r.read("pixels.variants_max", &count()),
        output_max: r.read("pixels.output_max", &pixels()),
    }
}

fn read_stores(r: &mut Reader) -> Stores {
    Stores {
        connect_timeout: r.read("stores.connect_timeout", &duration()),
        idle_timeout: r.read("stores.idle_timeout", &duration()),
        tries_max: r.read("stores.tries_max", &count()),
        backoff_min: r.read("stores.backoff_min", &duration()),
        backoff_max: r.read("stores.backoff_max", &duration()),
    }
}

fn read_callback(r: &mut Reader) -> Callback {
    Callback {
        allow: r.read("callback.allow", &networks()),
        timeout: r.read("callback.timeout", &duration()),
        connect_timeout: r.read("callback.connect_timeout", &duration()),
        concurrency: r.read("callback.concurrency", &count()),
    }
}

fn read_log(r: &mut Reader) -> telemetry::Settings {
    telemetry::Settings {
        filter: r.read("log", &filter()),
        format: r.read("log_format", &one_of(&[("pretty", Format::Pretty), ("json", Format::Json)])),
        file: r.read("log_file", &optional(path())),
        rotation: r.read(
            "log_rotation",
            &one_of(&[("daily", Rotation::Daily), ("hourly", Rotation::Hourly), ("never", Rotation::Never)]),
        ),
        files_kept: r.read("log_files_kept", &count_or_zero()),
    }
}
