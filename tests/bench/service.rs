//! The whole service: the real binary on the loopback, from the first byte of an upload to `completed`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::job::{Outcome, Variant};
use crate::token::{Claims, SECRET};
use crate::usage::tree_cpu_ms;

/// Uploads at once: enough that the server never waits for a client.
const CLIENTS: usize = 4;
/// Between two polls of a job. One that is alone is over when its end is seen; of several, the others keep the server busy
/// until then, and what is asked in between is work that no client who takes a callback makes.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const POLL_INTERVAL_BUSY: Duration = Duration::from_millis(60);
/// How long a start or a job may take before the run fails.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// A server with two workers, and a client. Killed when dropped.
pub(crate) struct Service {
    server: Child,
    base: String,
    client: Client,
    runtime: Runtime,
    /// Counts uploads, so that no two are the same file.
    uploads: Arc<AtomicUsize>,
}

impl Service {
    /// Starts `program`, a build of Pixerve, in an empty directory. `sandbox` as the setting takes it.
    pub(crate) fn start(program: &Path, directory: &Path, sandbox: &str) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let addr: SocketAddr = free.expect("a free port");
        let log = std::fs::File::create(directory.join("terminal")).expect("a file");
        let server = Command::new(program)
            .current_dir(directory)
            .env_clear()
            .env("PIXERVE_ADDR", addr.to_string())
            .env("PIXERVE_DATA_DIR", directory.join("data"))
            .env("PIXERVE_SERVE_DIR", directory.join("serve"))
            .env("PIXERVE_PRIVATE_DIR", directory.join("private"))
            .env("PIXERVE_JWT_SECRET", SECRET)
            .env("PIXERVE_MAX_WORKERS", "2")
            .env("PIXERVE_WORKER_SANDBOX", sandbox)
            .env("PIXERVE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let client = Client::builder().no_proxy().build().expect("a client");
        let runtime = runtime.expect("a thread");
        let service = Self { server, base: format!("http://{addr}"), client, runtime, uploads: Arc::default() };
        service.runtime.block_on(service.wait_until_up());
        service
    }

    async fn wait_until_up(&self) {
        let start = Instant::now();
        while self.client.get(format!("{}/health", self.base)).send().await.is_err() {
            assert!(start.elapsed() < WAIT_MAX, "the server does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Registers a store: the access key under which jobs name it.
    pub(crate) fn register(&self, registration: &Value) -> String {
        let request = self.client.post(format!("{}/register", self.base));
        let request = request.bearer_auth(Claims::of("bench").admin().sign()).json(registration);
        let answer: Value =
            self.runtime.block_on(async { request.send().await.expect("an answer").json().await.expect("JSON") });
        answer["access_key"].as_str().unwrap_or_else(|| panic!("refused: {answer}")).to_owned()
    }

    /// Uploads every photo `repeats` times with this job claim, `clients` at once, and waits until all are completed.
    pub(crate) fn run(&self, photos: &[PathBuf], job: &Value, repeats: usize, clients: usize) -> Outcome {
        let files: Vec<Vec<u8>> = photos.iter().map(|path| std::fs::read(path).expect("a photo")).collect();
        let token = Claims::of("bench").job(job.clone()).sign();
        let shared = Arc::new((files, token, AtomicUsize::new(0)));
        let turns = photos.len() * repeats;
        let look = if clients > 1 { POLL_INTERVAL_BUSY } else { POLL_INTERVAL };
        let (cpu, start) = (tree_cpu_ms(self.server.id()), Instant::now());
        self.runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..clients {
                let (shared, uploads) = (Arc::clone(&shared), Arc::clone(&self.uploads));
                let (client, base) = (self.client.clone(), self.base.clone());
                tasks.spawn(async move {
                    let (files, token, next) = &*shared;
                    loop {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        if turn >= turns {
                            return;
                        }
                        let mut file = files[turn % files.len()].clone();
                        // Behind the picture's end nobody looks, but it makes another file of it.
                        file.extend(uploads.fetch_add(1, Ordering::Relaxed).to_le_bytes());
                        complete(&client, &base, token, file, look).await;
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.expect("an upload completes");
            }
        });
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        let cpu_ms = tree_cpu_ms(self.server.id()) - cpu;
        Outcome { wall_ms, cpu_ms, ..Outcome::default() }
    }

    /// The same with as many clients as keep it busy.
    pub(crate) fn run_busy(&self, photos: &[PathBuf], job: &Value, repeats: usize) -> Outcome {
        self.run(photos, job, repeats, CLIENTS)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ended already, at worst.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

async fn complete(client: &Client, base: &str, token: &str, file: Vec<u8>, look: Duration) {
    let start = Instant::now();
    let form = Form::new().part("file", Part::bytes(file).file_name("photo.jpg"));
    let upload = client.post(format!("{base}/upload")).bearer_auth(token).multipart(form);
    let accepted: Value = upload.send().await.expect("an answer").json().await.expect("JSON");
    let status_url = accepted["status_url"].as_str().unwrap_or_else(|| panic!("refused: {accepted}")).to_owned();
    loop {
        let status = client.get(format!("{base}{status_url}")).send().await.expect("an answer");
        let status: Value = status.json().await.expect("JSON");
        match status["state"].as_str() {
            Some("completed") => return,
            Some("failed" | "cancelled") => panic!("{status}"),
            _ => assert!(start.elapsed() < WAIT_MAX, "a job takes too long: {status}"),
        }
        tokio::time::sleep(look).await;
    }
}

/// The job claim that asks for `variants` in the directory that the server serves.
pub(crate) fn in_directory(variants: &[Variant]) -> Value {
    json!({ "directHost": true, "formats": formats(variants) })
}

/// The job claim that asks for `variants` in the S3 store registered as `access_key`.
pub(crate) fn in_s3(variants: &[Variant], access_key: &str) -> Value {
    json!({ "storageKeys": { "s3": access_key }, "formats": formats(variants) })
}

fn formats(variants: &[Variant]) -> Value {
    let mut formats = json!({});
    for variant in variants {
        let sizes = &mut formats[&variant.format]["sizes"];
        if sizes.is_null() {
            *sizes = json!([]);
        }
        sizes.as_array_mut().expect("a list").push(json!([variant.size]));
    }
    formats
}
