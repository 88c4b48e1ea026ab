//! Nodes that die in the midst of an erasure: another carries it out, and nothing is left of what was to be erased.

use std::os::unix::process::ExitStatusExt;

use pixerve::failpoint::ErasureStep;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::home::{ErasureHome, PICTURES, assert_unknown, below, manager, stored_job, text};
use super::killed::told_of;
use super::told::told_job;
use crate::harness::app::{TestApp, WAIT_MAX, poll_delay, small_job};
use crate::harness::picture::{commented, jpeg};
use crate::harness::process::Home;
use crate::harness::receiver::Receiver;

/// A node that takes orders, and none of the jobs.
const API: [(&str, &str); 1] = [("PIXERVE_NODE_ROLES", "api")];

/// What is erased while a node dies at one step.
struct Canary {
    subject: String,
    /// What nobody should find any more: whose it is, its name, its directory, what is written in the picture itself.
    texts: [String; 4],
    /// Stored everywhere.
    done: Value,
    /// Not ended when the order comes.
    live: Value,
}

impl Canary {
    async fn planted(app: &TestApp, number: u32, access_key: &str, receiver: &Receiver) -> Self {
        let subject = format!("canary-subject-{number}-of-all");
        let [name, directory, comment] = ["name", "directory", "picture"].map(|of| format!("canary-{of}-{number}-"));
        let mut job = told_job(receiver, stored_job(access_key));
        job["subDir"] = json!(directory);
        job["keepOriginal"] = json!(true);
        let picture = commented(jpeg(96, 96, number), &comment);
        let done = app.done(&subject, job, &format!("{name}.jpg"), picture).await;
        assert_eq!(done["state"], "completed", "{done}");
        let texts = [subject.clone(), name, directory, comment];
        Self { subject, texts, done, live: Value::Null }
    }

    /// Accepts what takes longer than all of the test.
    async fn begin_live(&mut self, app: &TestApp, number: u32, receiver: &Receiver) {
        let mut job = told_job(receiver, small_job());
        job["formats"] = json!({ "avif": { "settings": { "speed": 1 }, "sizes": [[900], [800], [700]] } });
        job["subDir"] = json!(self.texts[2]);
        let picture = commented(jpeg(1000, 1000, 100 + number), &self.texts[3]);
        self.live = app.accepted(&self.subject, job, &format!("{}live.jpg", self.texts[1]), picture).await;
    }

    fn jobs(&self) -> [&Value; 2] {
        [&self.done, &self.live]
    }
}

/// Orders the canary to be erased at a node that dies at this step of it.
async fn order_at_a_node_that_dies(home: &ErasureHome, step: ErasureStep, canary: &Canary) -> Home {
    let node = home.node_home(&API);
    let points = format!("{}=return", step.name());
    let mut server = node.spawn(&[("FAILPOINTS", &points)]);
    node.answers(&mut server).await;
    let order = server.request(Method::DELETE, &format!("/erase?sub={}", canary.subject));
    let _ = order.bearer_auth(manager(&canary.subject).sign()).send().await;
    let ended = server.exited().await;
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{} is not come by: {}", step.name(), node.terminal());
    node
}

/// Waits until there is nothing more to be erased of the canary.
async fn until_nothing_is_left(app: &TestApp, step: ErasureStep, canary: &Canary) {
    let started = Instant::now();
    loop {
        let asked = app.request(Method::DELETE, &format!("/erase?sub={}", canary.subject));
        let answer = asked.bearer_auth(manager(&canary.subject).sign()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        if status == 404 {
            return;
        }
        let body = answer.text().await.expect("text");
        assert!(matches!(status, 200 | 202), "{}: {status}: {body}", step.name());
        assert!(started.elapsed() < WAIT_MAX, "{} is not carried out: {body}", step.name());
        poll_delay().await;
    }
}

/// Waits until every order is purged.
async fn until_all_is_purged(app: &TestApp, home: &ErasureHome) {
    let started = Instant::now();
    for id in home.orders().await {
        loop {
            let answer = app.admin(Method::GET, &format!("/erasures/{id}"), None).await;
            let erasure: Value = answer.json().await.expect("JSON");
            assert!(matches!(text(&erasure["state"]), "running" | "done"), "{erasure}");
            if erasure["purged_at"].is_string() {
                break;
            }
            assert!(started.elapsed() < WAIT_MAX, "{erasure}");
            poll_delay().await;
        }
    }
}

/// At each of these steps of an erasure the node that was given the order dies; then nothing is left anywhere, and who is to be
/// told has been.
pub(crate) async fn whatever_step_a_node_dies_at_another_carries_it_out(home: ErasureHome, steps: &[ErasureStep]) {
    let app = home.start(&[("PIXERVE_MAX_WORKERS", "1")]).await;
    let (access_key, receiver) = (app.register(home.store.registration(PICTURES)).await, Receiver::start().await);
    let mut canaries = Vec::new();
    for (number, step) in (0..).zip(steps) {
        canaries.push((number, *step, Canary::planted(&app, number, &access_key, &receiver).await));
    }
    // Whatever comes behind these has to wait.
    for (number, _, canary) in &mut canaries {
        canary.begin_live(&app, *number, &receiver).await;
    }
    for (_, _, canary) in &canaries {
        for text in &canary.texts {
            assert!(!home.shared_traces_of(text).await.is_empty(), "the test finds {text}");
        }
    }
    let mut dead = Vec::new();
    for (_, step, canary) in &canaries {
        dead.push(order_at_a_node_that_dies(&home, *step, canary).await);
    }

    for (_, step, canary) in &canaries {
        until_nothing_is_left(&app, *step, canary).await;
    }
    until_all_is_purged(&app, &home).await;
    assert_eq!(home.orders().await.len(), steps.len(), "none was given twice");
    let jobs: Vec<_> = canaries.iter().flat_map(|(_, _, canary)| canary.jobs()).collect();
    told_of(&receiver, &jobs).await;
    assert_eq!(home.store.keys(PICTURES).await, [""; 0]);
    let another = home.start(&[]).await;
    for (_, step, canary) in &canaries {
        for node in [&app, &another] {
            for job in canary.jobs() {
                assert_unknown(node, job).await;
            }
        }
        for text in &canary.texts {
            assert_eq!(home.traces_of(&app, text).await, [""; 0], "{text}, {}", step.name());
            for node in &dead {
                assert_eq!(below(&node.data_dir(), text), [""; 0], "{text}, {}", step.name());
            }
        }
    }
    // They serve as before.
    another.done("me", small_job(), "c.jpg", jpeg(96, 96, 3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_is_carried_out_by_another_node_if_the_one_that_was_asked_dies() {
    let Some(home) = ErasureHome::many_nodes().await else { return };
    let steps = [ErasureStep::Ordered, ErasureStep::RecordGone, ErasureStep::FileDeleted];
    whatever_step_a_node_dies_at_another_carries_it_out(home, &steps).await;
}
