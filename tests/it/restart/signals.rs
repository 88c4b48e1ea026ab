//! The real binary and every signal that would kill it.

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::app::{WAIT_MAX, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::token::Claims;

const OLD: &str = "the old secret of a test, long enough";
const NEW: &str = "the new secret of a test, long enough";

#[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
fn keys(home: &Home, secrets: &[&str]) {
    let key = |(i, secret)| json!({"kid": format!("key-{i}"), "algorithm": "HS256", "secret": secret});
    let keys: Vec<Value> = secrets.iter().enumerate().map(key).collect();
    std::fs::write(home.root().join("jwt.json"), json!({ "keys": keys }).to_string()).expect("written");
}

/// What an upload signed with this secret is answered with.
async fn status_of(server: &ServerProcess, secret: &str, seed: u32) -> u16 {
    let token = Claims::of("me").job(small_job()).secret(secret).sign();
    server.upload(&token, "a.jpg", jpeg(20, 20, seed)).await.status().as_u16()
}

async fn logged(home: &Home, text: &str, times: usize) {
    let started = Instant::now();
    while home.log().matches(text).count() < times {
        assert!(started.elapsed() < WAIT_MAX, "not logged: {text}\n{}", home.log());
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_keys_again_and_a_bad_file_changes_nothing() {
    let home = Home::new(&[("PIXERVE_JWT_SECRET", ""), ("PIXERVE_JWT_FILE", "jwt.json")]);
    keys(&home, &[OLD]);
    let server = home.start().await;
    assert_eq!([status_of(&server, OLD, 1).await, status_of(&server, NEW, 2).await], [200, 401]);

    keys(&home, &[OLD, NEW]);
    server.signal(Signal::HUP);
    logged(&home, "signing keys read again", 1).await;
    assert_eq!([status_of(&server, OLD, 3).await, status_of(&server, NEW, 4).await], [200, 200]);

    // One of the two is too short.
    keys(&home, &[NEW, "short"]);
    server.signal(Signal::HUP);
    logged(&home, "the old ones stay in use", 1).await;
    assert_eq!([status_of(&server, OLD, 5).await, status_of(&server, NEW, 6).await], [200, 200]);
    std::fs::remove_file(home.root().join("jwt.json")).expect("removed");
    server.signal(Signal::HUP);
    logged(&home, "the old ones stay in use", 2).await;
    assert_eq!([status_of(&server, OLD, 7).await, status_of(&server, NEW, 8).await], [200, 200]);

    keys(&home, &[NEW]);
    server.signal(Signal::HUP);
    logged(&home, "signing keys read again", 2).await;
    assert_eq!([status_of(&server, OLD, 9).await, status_of(&server, NEW, 10).await], [401, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_would_kill_it_stop_it_in_order() {
    for signal in [Signal::QUIT, Signal::USR1, Signal::USR2, Signal::ALARM, Signal::IO, Signal::INT] {
        let home = Home::new(&[]);
        let mut server = home.start().await;
        let accepted = server.accepted("me", small_job(), "a.jpg", jpeg(20, 20, 1)).await;
        server.signal(signal);
        assert_eq!(server.exited().await.code(), Some(0), "{signal:?}: {}", home.terminal());
        assert!(home.log().contains("stopped"), "{signal:?}: {}", home.log());
        let server = home.start().await;
        assert_eq!(server.ended(&accepted).await["state"], "completed", "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_and_a_file_that_may_not_grow_kill_nothing() {
    let home = Home::new(&[]);
    let server = home.start().await;
    for signal in [Signal::PIPE, Signal::XFSZ] {
        server.signal(signal);
        let status = server.done("me", small_job(), "a.jpg", jpeg(20, 20, signal.as_raw().unsigned_abs())).await;
        assert_eq!(status["state"], "completed", "{signal:?}");
    }
}
