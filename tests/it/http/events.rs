//! `GET /events`, and `/status` that waits.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::harness::app::{TestApp, WAIT_MAX, assert_problem, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;
use crate::sandbox::FakeChild;

/// One event as it came.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// A stream of events, as a browser reads it.
pub(crate) struct Stream {
    response: Response,
    unread: String,
}

impl Stream {
    async fn open(app: &TestApp, query: &str, last_event_id: Option<u64>) -> Response {
        let mut request = app.request(Method::GET, &format!("/events?{query}"));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        request.send().await.expect("an answer")
    }

    /// Of an accepted job.
    pub(crate) async fn of(app: &TestApp, accepted: &Value) -> Self {
        let response = Self::open(app, &by_id(accepted), None).await;
        assert_eq!(response.status(), 200);
        let mut stream = Self { response, unread: String::new() };
        assert_eq!(stream.block().await.as_deref(), Some("retry: 2000"));
        stream
    }

    /// The lines up to the next empty one; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                return Some(block);
            }
            let chunk = timeout(WAIT_MAX, self.response.chunk()).await.expect("in time").expect("it isn't cut")?;
            self.unread += std::str::from_utf8(&chunk).expect("text");
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            // Comments show that it lives.
            let Some(name) = line("event") else { continue };
            let id = line("id").and_then(|id| id.parse().ok()).expect("an id");
            let data = serde_json::from_str(line("data").expect("data")).expect("JSON");
            return Some(Event { id, name: name.to_owned(), data });
        }
    }

    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn by_id(accepted: &Value) -> String {
    format!("job_id={}", accepted["job_id"].as_str().expect("an id"))
}

/// A server whose one worker never ends a job, and a job that waits for it.
async fn stuck() -> (TestApp, FakeChild, Value) {
    let never_done = FakeChild::new("sleep 600");
    // Loopback is trusted by default, and what a trusted proxy asks for itself is not limited.
    let settings = [("PIXERVE_MAX_WORKERS", "1"), ("PIXERVE_SERVER_TRUSTED_PROXIES", "192.0.2.0/24")];
    let app = TestApp::start_on(never_done.path(), &settings).await;
    let first = app.accepted("me", small_job(), "a.jpg", jpeg(16, 16, 1)).await;
    app.processing(&first).await;
    let waiting = app.accepted("me", small_job(), "b.jpg", jpeg(16, 16, 2)).await;
    (app, never_done, waiting)
}

async fn cancel(app: &TestApp, accepted: &Value) {
    let path = format!("/cancel?{}", by_id(accepted));
    let response = app.request(Method::DELETE, &path).bearer_auth(Claims::of("me").sign()).send().await;
    assert_eq!(response.expect("an answer").status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_the_status_at_once_each_file_once_and_the_end_with_which_it_closes() {
    let app = TestApp::start().await;
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[64], [32], [16]] }, "avif": { "sizes": [[300]] } } });
    let accepted = app.accepted("me", job, "a.jpg", jpeg(400, 300, 1)).await;
    let events = Stream::of(&app, &accepted).await.rest().await;
    let [first, .., end] = events.as_slice() else { panic!("two at least: {events:?}") };
    assert_eq!((first.name.as_str(), &first.data["job_id"]), ("status", &accepted["job_id"]));
    assert_eq!((end.name.as_str(), &end.data["state"]), ("end", &json!("completed")));
    assert_eq!(end.data, app.get_json(accepted["status_url"].as_str().expect("a URL")).await);
    assert!(events.is_sorted_by_key(|event| event.id), "{events:?}");
    assert!(events.iter().all(|event| event.name == "end" || event.id <= end.id), "{events:?}");

    let mut told: Vec<Value> = first.data["files"].as_array().expect("files").clone();
    told.extend(events.iter().filter(|event| event.name == "file").map(|event| event.data.clone()));
    let name = |file: &Value| file["name"].as_str().expect("a name").to_owned();
    told.sort_by_key(name);
    let mut files = end.data["files"].as_array().expect("files").clone();
    files.sort_by_key(name);
    assert_eq!(told, files);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_the_end_is_told_not_to_come_again_and_who_has_not_sees_it() {
    let app = TestApp::start().await;
    let accepted = app.accepted("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
    app.ended(&accepted).await;
    let events = Stream::of(&app, &accepted).await.rest().await;
    let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["status", "end"]);
    let end = events[1].id;
    for seen in [end, end + 1000] {
        let response = Stream::open(&app, &by_id(&accepted), Some(seen)).await;
        assert_eq!((response.status().as_u16(), response.bytes().await.expect("a body").len()), (204, 0));
    }
    let response = Stream::open(&app, &by_id(&accepted), Some(end - 1)).await;
    assert!(response.text().await.expect("text").contains("event: end"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_nothing_that_a_cache_or_a_proxy_keeps() {
    let (app, _child, waiting) = stuck().await;
    let response = Stream::open(&app, &by_id(&waiting), None).await;
    let headers: HeaderMap = response.headers().clone();
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(headers.get(name.parse::<HeaderName>().expect("a name")).expect(name), value);
    }
    assert!(!headers.contains_key("content-encoding"));
    assert_problem(app.get("/events").await, 400, "bad_request").await;
    assert_problem(app.get("/events?hash=unknown").await, 404, "not_found").await;
    assert_problem(app.get("/events?job_id=nonsense").await, 400, "bad_request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_is_told_of_once_and_again_when_it_is_cancelled() {
    let (app, _child, waiting) = stuck().await;
    let mut stream = Stream::of(&app, &waiting).await;
    let first = stream.next().await.expect("the status");
    assert_eq!(first.data["state"], "pending");
    // What it has seen it isn't told again.
    let again = Stream::open(&app, &by_id(&waiting), Some(first.id)).await;
    let mut again = Stream { response: again, unread: String::new() };
    cancel(&app, &waiting).await;
    for stream in [&mut stream, &mut again] {
        let event = stream.next().await.expect("the change");
        assert_eq!((event.name.as_str(), &event.data["state"]), ("status", &json!("cancelled")));
        assert!(event.id > first.id, "{event:?}");
    }
    assert_eq!(stream.rest().await.into_iter().map(|event| event.name).collect::<Vec<_>>(), ["end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_sixteen_streams_and_another_once_one_is_closed() {
    let (app, _child, waiting) = stuck().await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(Stream::of(&app, &waiting).await);
    }
    let refused = Stream::open(&app, &by_id(&waiting), None).await;
    assert_problem(refused, 503, "too_many_streams").await;
    drop(streams.pop());
    while Stream::open(&app, &by_id(&waiting), None).await.status() != 200 {
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_does_not_wait_for_streams_nor_for_those_who_wait() {
    let (mut app, _child, waiting) = stuck().await;
    let mut stream = Stream::of(&app, &waiting).await;
    stream.next().await.expect("the status");
    let waits = app.request(Method::GET, &format!("/status?{}&wait=60", by_id(&waiting))).send();
    let waits = tokio::spawn(waits);
    let mut others = 0;
    while others < 2 {
        // It is there once it is watched twice.
        others = app.app().state().watched_jobs.watchers();
        poll_delay().await;
    }
    let started = Instant::now();
    app.stop(Duration::ZERO).await;
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    assert!(stream.next().await.is_none(), "it is closed, not cut");
    let status = waits.await.expect("no panic").expect("an answer").json::<Value>().await.expect("JSON");
    assert_eq!(status["state"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_jobs_are_asked_about_at_once_and_those_that_are_known_are_told() {
    let (app, _child, waiting) = stuck().await;
    let cancelled = app.accepted("me", small_job(), "c.jpg", jpeg(16, 16, 3)).await;
    cancel(&app, &cancelled).await;
    let id = |accepted: &Value| accepted["job_id"].as_str().expect("an id").to_owned();
    let unknown = "01900000-0000-7000-8000-000000000000";
    let ids = [id(&cancelled), unknown.to_owned(), id(&waiting), id(&cancelled)].join(",");
    let answer = app.get_json(&format!("/status?job_id={ids}")).await;
    let jobs = answer["jobs"].as_array().expect("jobs");
    let told: Vec<_> = jobs.iter().map(|job| (job["job_id"].clone(), job["state"].clone())).collect();
    assert_eq!(told, [(json!(id(&cancelled)), json!("cancelled")), (json!(id(&waiting)), json!("pending"))]);
    assert_eq!(app.get_json(&format!("/status?job_id={},", id(&waiting))).await["jobs"][0]["state"], "pending");

    let many =
        |count: u32| (0..count).map(|i| format!("01900000-0000-7000-8000-{i:012x}")).collect::<Vec<_>>().join(",");
    assert_eq!(app.get_json(&format!("/status?job_id={}", many(100))).await, json!({ "jobs": [] }));
    for bad in [many(101), format!("{},nonsense", id(&waiting)), format!("{unknown},{unknown}&wait=1")] {
        assert_problem(app.get(&format!("/status?job_id={bad}")).await, 400, "bad_request").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_not_sent_to_who_has_it() {
    let (app, _child, waiting) = stuck().await;
    let path = format!("/status?{}", by_id(&waiting));
    let response = app.get(&path).await;
    let etag = response.headers()["etag"].to_str().expect("text").to_owned();
    assert!(etag.starts_with("W/\""), "{etag}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let conditional = async |tag: &str| app.request(Method::GET, &path).header("If-None-Match", tag).send().await;
    for tag in [etag.as_str(), "*", &format!("\"other\", {etag}"), etag.strip_prefix("W/").expect("weak")] {
        let response = conditional(tag).await.expect("an answer");
        assert_eq!((response.status().as_u16(), response.headers()["etag"] == etag.as_str()), (304, true), "{tag}");
    }
    assert_eq!(conditional("W/\"other\"").await.expect("an answer").status(), 200);
    cancel(&app, &waiting).await;
    assert_eq!(conditional(&etag).await.expect("an answer").status(), 200, "it has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_status_waits_for_another_and_who_knows_none_for_the_end() {
    let (app, _child, waiting) = stuck().await;
    let path = format!("/status?{}&wait", by_id(&waiting));
    let etag = app.get(&format!("{path}=")).await.headers()["etag"].clone();
    let started = Instant::now();
    let same = app.request(Method::GET, &format!("{path}=1")).header("If-None-Match", &etag).send();
    assert_eq!(same.await.expect("an answer").status(), 304, "nothing has happened");
    assert_eq!(app.get(&format!("{path}=1")).await.status(), 200);
    assert!(started.elapsed() >= Duration::from_secs(2), "both waited: {:?}", started.elapsed());

    let change = app.request(Method::GET, &format!("{path}=60")).header("If-None-Match", &etag).send();
    let end = app.request(Method::GET, &format!("{path}=60")).send();
    let [change, end] = [tokio::spawn(change), tokio::spawn(end)];
    while app.app().state().watched_jobs.watchers() < 2 {
        poll_delay().await;
    }
    cancel(&app, &waiting).await;
    for answer in [change, end] {
        let answer = timeout(Duration::from_secs(50), answer).await.expect("at once").expect("no panic");
        assert_eq!(answer.expect("an answer").json::<Value>().await.expect("JSON")["state"], "cancelled");
    }
    // Of an ended job nothing is waited for.
    let ended = timeout(Duration::from_secs(50), app.get(&format!("{path}=60"))).await.expect("at once");
    assert_eq!(ended.status(), 200);
    for wait in ["0", "61", "-1", "1.5", "soon"] {
        assert_problem(app.get(&format!("{path}={wait}")).await, 400, "bad_request").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ninth_of_an_address_that_waits_is_answered_at_once() {
    let (app, _child, waiting) = stuck().await;
    let path = format!("/status?{}&wait=60", by_id(&waiting));
    let waits: Vec<_> = (0..8).map(|_| tokio::spawn(app.request(Method::GET, &path).send())).collect();
    while app.app().state().watched_jobs.watchers() < 8 {
        poll_delay().await;
    }
    let answer = timeout(Duration::from_secs(50), app.get(&path)).await.expect("at once");
    assert_eq!(answer.json::<Value>().await.expect("JSON")["state"], "pending");
    cancel(&app, &waiting).await;
    for answer in waits {
        assert_eq!(answer.await.expect("no panic").expect("an answer").status(), 200);
    }
}
