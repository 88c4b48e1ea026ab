//! Stores that are away while jobs keep coming: what is made waits in the spool, not in memory, and outlives the server.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, RgbImage};
use pixerve::job::ContentHash;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bad_input::peak_mib;
use super::figure;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::fault_proxy::{BlackHole, Fault, FaultProxy};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess, reserve_port};
use crate::harness::stores::{S3Server, s3_at};
use crate::harness::token::Claims;

const BUCKET: &str = "away";

/// What a server may take beyond what it takes when idle.
const GROWTH_MIB_MAX: u64 = 100;

/// A picture that doesn't compress: three bytes a pixel, in every size that it is made in.
fn noise_png(side: u32, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let picture = RgbImage::from_fn(side, side, |_, _| image::Rgb([next(), next(), next()]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut bytes, ImageFormat::Png).expect("it can be encoded");
    bytes.into_inner()
}

/// A store of this address, which nobody has to answer at.
fn store_at(endpoint: &str) -> Value {
    json!({
        "type": "s3", "bucket": BUCKET, "region": "test-1", "endpoint": endpoint,
        "access_key_id": "id", "secret_access_key": "secret"
    })
}

async fn assert_idle(server: &ServerProcess) {
    let health = server.get_json("/health").await;
    assert_eq!(health["checks"]["workers"]["busy"], 0, "{health}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_a_store_does_not_take_are_not_in_memory() {
    // As many as one store is sent at once.
    const WRITES: usize = 16;
    let home = Home::new(&[]);
    let server = home.start().await;
    let proxy = FaultProxy::start(reserve_port()).await;
    let key = server.register(store_at(&proxy.endpoint())).await;
    proxy.script(|_| Fault::StallRequest);
    let before = (peak_mib(&server), proxy.asked().len());
    let original = noise_png(2080, 1);
    let mib = original.len() >> 20;
    let job = json!({ "storageKeys": { "s3": key }, "keepOriginal": true, "formats": { "jpg": { "sizes": [[16]] } } });
    for user in 0..WRITES {
        server.accepted(&format!("user-{user}"), job.clone(), "a.png", original.clone()).await;
    }
    let started = Instant::now();
    while proxy.asked().len() < before.1 + WRITES {
        assert!(started.elapsed() < WAIT_MAX, "{} writes", proxy.asked().len() - before.1);
        poll_delay().await;
    }
    let grown = peak_mib(&server) - before.0;
    assert!(grown < GROWTH_MIB_MAX, "the server grew by {grown} MiB");
    figure("stages", format!("{WRITES} writes of {mib} MiB that a store doesn't read: the server grew by {grown} MiB"));
}

/// Two jobs of as many large variants as a job may have, to a store that is away: by how much the server grew.
async fn grown_by_waiting(endpoint: &str) -> u64 {
    const VARIANTS: u32 = 64;
    const SIDE: u32 = 2080;
    let home = Home::new(&[("PIXERVE_WORKER_JOB_TIMEOUT", "1h")]);
    let server = home.start().await;
    let key = server.register(store_at(endpoint)).await;
    let before = peak_mib(&server);
    let sizes: Vec<_> = (0..VARIANTS).map(|n| json!([SIDE - n])).collect();
    let job = json!({ "storageKeys": { "s3": key }, "formats": { "png": { "sizes": sizes } } });
    for user in 0..2 {
        server.accepted(&format!("user-{user}"), job.clone(), "a.png", noise_png(SIDE, user + 1)).await;
    }
    let started = Instant::now();
    let spool = home.data_dir().join("spool");
    let all = VARIANTS as usize * 2;
    while files_below(&spool).iter().filter(|name| name.contains("/made/") && !name.contains("/made/.")).count() < all {
        assert!(started.elapsed() < Duration::from_mins(30), "{} are made", files_below(&spool).len());
        poll_delay().await;
    }
    while server.get_json("/health").await["checks"]["workers"]["busy"] != 0 {
        assert!(started.elapsed() < Duration::from_mins(30));
        poll_delay().await;
    }
    // While they wait: until it has stopped growing.
    let (mut grown, mut still) = (0, 0);
    while still < 500 {
        poll_delay().await;
        let now = peak_mib(&server) - before;
        still = if now > grown { 0 } else { still + 1 };
        grown = now;
    }
    assert_idle(&server).await;
    grown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn the_largest_jobs_to_a_store_that_is_away_stay_out_of_memory() {
    let silent = BlackHole::start().await;
    for (store, endpoint) in
        [("never answers", format!("http://{}", silent.addr)), ("refuses", format!("http://{}", reserve_port()))]
    {
        let grown = grown_by_waiting(&endpoint).await;
        assert!(grown < GROWTH_MIB_MAX, "{store}: the server grew by {grown} MiB");
        figure("stages", format!("2 jobs x 64 PNGs of 12 MiB, a store that {store}: the server grew by {grown} MiB"));
    }
}

/// A job that is made and waits for a store that is down.
struct Waiting {
    home: Home,
    server: ServerProcess,
    addr: std::net::SocketAddr,
    key: String,
    accepted: Value,
}

/// By name: what changes when a file is written again.
type Identities = BTreeMap<String, (u64, i64, i64)>;

impl Waiting {
    async fn start() -> Self {
        let home = Home::new(&[]);
        let (server, addr) = (home.start().await, reserve_port());
        // With the credentials that the store will know.
        let absent = s3_at(addr, &[]).await;
        let registration = absent.registration(BUCKET);
        absent.stop().await;
        let key = server.register(registration).await;
        let job = json!({
            "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[64], [32]] }, "webp": { "sizes": [[16]] } }
        });
        let accepted = server.accepted("me", job, "a.jpg", jpeg(120, 90, 1)).await;
        let waiting = Self { home, server, addr, key, accepted };
        waiting.is_told().await;
        waiting
    }

    /// Until the status says for which store it waits; nothing that a client must not know is in it.
    async fn is_told(&self) {
        let is_told = |status: &Value| status["waiting_for"].is_array() && self.made().len() == 3;
        let status = self.server.wait_for(&self.accepted, "to wait for its store", is_told).await;
        let [outage] = status["waiting_for"].as_array().expect("stores").as_slice() else { panic!("{status}") };
        assert_eq!(
            (&outage["backend"], &outage["access_key"], &outage["reason"]),
            (&json!("s3"), &json!(self.key), &json!("unreachable"))
        );
        assert!(outage["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{outage}");
        assert!(!status.to_string().contains(&self.addr.to_string()), "an address is the operator's: {status}");
        assert_eq!((&status["state"], &status["attempt"]), (&json!("processing"), &json!(1)), "{status}");
        while self.server.get_json("/health").await["checks"]["workers"]["busy"] != 0 {
            poll_delay().await;
        }
    }

    fn made_dir(&self) -> PathBuf {
        let id = self.accepted["job_id"].as_str().expect("an id");
        self.home.data_dir().join("spool/jobs").join(id).join("made")
    }

    fn made(&self) -> Identities {
        let dir = self.made_dir();
        let names = files_below(&dir).into_iter().filter(|name| !name.starts_with('.'));
        let identity = |name: String| {
            let meta = std::fs::metadata(dir.join(&name)).ok()?;
            Some((name, (meta.ino(), meta.mtime(), meta.mtime_nsec())))
        };
        names.filter_map(identity).collect()
    }

    /// The job completes by itself, with every file in the store that came back.
    async fn assert_completes(&self, s3: &S3Server) -> Value {
        let status = self.server.ended(&self.accepted).await;
        assert_eq!((&status["state"], &status["waiting_for"]), (&json!("completed"), &Value::Null), "{status}");
        let files = status["files"].as_array().expect("files");
        assert_eq!(files.len(), 3, "{status}");
        for file in files {
            let object = s3.object(BUCKET, file["name"].as_str().expect("a name")).await.expect("it is stored");
            assert_eq!(file["sha256"], ContentHash::of(&object.bytes).to_string(), "{file}");
            let picture = image::load_from_memory(&object.bytes).expect("it decodes");
            assert_eq!((&file["width"], &file["height"]), (&json!(picture.width()), &json!(picture.height())));
        }
        status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_outlives_a_restart_and_a_kill_and_is_stored_when_the_store_comes_back() {
    let mut waiting = Waiting::start().await;
    let made = waiting.made();
    waiting.server.terminate();
    assert_eq!(waiting.server.exited().await.code(), Some(0));
    waiting.server = waiting.home.start().await;
    waiting.is_told().await;
    assert_eq!(waiting.made(), made, "made again after a restart");
    waiting.server.signal(rustix::process::Signal::KILL);
    waiting.server.exited().await;
    waiting.server = waiting.home.start().await;
    waiting.is_told().await;
    assert_eq!(waiting.made(), made, "made again after a kill");
    let s3 = s3_at(waiting.addr, &[BUCKET]).await;
    let status = waiting.assert_completes(&s3).await;
    assert_eq!(status["attempt"], 1, "{status}");
    let spool = waiting.home.data_dir().join("spool");
    while !files_below(&spool).is_empty() {
        poll_delay().await;
    }
    figure("stages", "a store that is down over a restart and a kill -9: nothing made again, attempt 1, completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_leaves_a_server_whose_disk_is_too_full_to_make_more() {
    let mut waiting = Waiting::start().await;
    waiting.server.terminate();
    assert_eq!(waiting.server.exited().await.code(), Some(0));
    let s3 = s3_at(waiting.addr, &[BUCKET]).await;
    waiting.server = waiting.home.spawn(&[("PIXERVE_STORAGE_FREE_DISK_MIN", "900 TiB")]);
    while waiting.server.request(Method::GET, "/health").send().await.is_err() {
        poll_delay().await;
    }
    let token = Claims::of("me").job(json!({ "directHost": true, "formats": { "jpg": {} } })).sign();
    let refused = waiting.server.upload(&token, "b.jpg", jpeg(60, 40, 1)).await;
    assert_eq!(refused.status(), 507, "no room for more");
    waiting.assert_completes(&s3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_after_a_restart_shows_what_it_stored_before_and_so_does_its_cancellation() {
    let home = Home::new(&[]);
    let mut server = home.start().await;
    let key = server.register(store_at(&format!("http://{}", reserve_port()))).await;
    let job = json!({
        "directHost": true, "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[64], [32]] } }
    });
    let accepted = server.accepted("me", job, "a.jpg", jpeg(120, 90, 1)).await;
    let is_served = |status: &Value| status["files"].as_array().is_some_and(|files| files.len() == 2);
    let before = server.wait_for(&accepted, "to be served", is_served).await;
    server.signal(rustix::process::Signal::KILL);
    server.exited().await;
    let server = home.start_with(&[("PIXERVE_PAUSED", "true")]).await;
    let status = server.wait_for(&accepted, "to be known", |_| true).await;
    assert_eq!((&status["state"], &status["files"]), (&json!("pending"), &before["files"]), "{status}");
    let path = format!("/cancel?hash={}", accepted["hash"].as_str().expect("a hash"));
    let cancel = server.request(Method::DELETE, &path).bearer_auth(Claims::of("me").sign());
    assert_eq!(cancel.send().await.expect("an answer").status(), 204);
    let status = server.ended(&accepted).await;
    assert_eq!((&status["state"], &status["files"]), (&json!("cancelled"), &before["files"]), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_made_file_that_is_damaged_while_the_server_is_down_is_made_again() {
    let cut = |file: &std::fs::File| file.set_len(file.metadata().expect("its size").len() / 2).expect("cut");
    let flip = |file: &std::fs::File| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, 100).expect("read");
        file.write_all_at(&[!byte[0]], 100).expect("written");
    };
    for damage in [&cut as &dyn Fn(&std::fs::File), &flip] {
        let mut waiting = Waiting::start().await;
        waiting.server.terminate();
        assert_eq!(waiting.server.exited().await.code(), Some(0));
        let name = waiting.made().into_keys().next().expect("a file");
        let file = std::fs::File::options().read(true).write(true).open(waiting.made_dir().join(name));
        damage(&file.expect("it opens"));
        let s3 = s3_at(waiting.addr, &[BUCKET]).await;
        waiting.server = waiting.home.start().await;
        waiting.assert_completes(&s3).await;
    }
    figure(
        "stages",
        "a made file that is cut, or of which a byte changes, while the server is down: made again, stored",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_takes_the_files_once_its_credentials_are_put_right() {
    let home = Home::new(&[("PIXERVE_STORES_BACKOFF_MIN", "5ms"), ("PIXERVE_STORES_BACKOFF_MAX", "20ms")]);
    let server = home.start().await;
    let s3 = s3_at(([127, 0, 0, 1], 0).into(), &[BUCKET]).await;
    let proxy = FaultProxy::start(s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = s3.registration(BUCKET);
    registration["endpoint"] = proxy.endpoint().into();
    let key = server.register(registration).await;
    proxy.script(|_| Fault::s3_error(403, "AccessDenied"));
    let job = json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[64], [32]] } } });
    let accepted = server.accepted("me", job, "a.jpg", jpeg(120, 90, 1)).await;
    let is_refused = |status: &Value| status["waiting_for"][0]["reason"] == "refused";
    let status = server.wait_for(&accepted, "to be refused", is_refused).await;
    assert_eq!(status["state"], "processing", "{status}");
    while server.get_json("/health").await["checks"]["workers"]["busy"] != 0 {
        poll_delay().await;
    }
    proxy.script(|_| Fault::Pass);
    let status = server.ended(&accepted).await;
    assert_eq!((&status["state"], &status["attempt"]), (&json!("completed"), &json!(1)), "{status}");
    assert_eq!(s3.keys(BUCKET).await.len(), 2);
}
