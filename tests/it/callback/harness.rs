//! An outbox that runs, receivers on loopback, and jobs that have ended.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use pixerve::callback::{
    CallbackSettings, OpenCallback, Outbox, Resolver, SigningSecrets, SystemResolver, WebhookClient,
};
use pixerve::clock::{Manual, Timestamp};
use pixerve::job::{
    CallbackEvents, CallbackHeader, CallbackTarget, ContentHash, JobId, Original, Owner, SealedText, SourceFormat,
    State, Stored, StoredFile, Warnings, WebhookSecret,
};
use pixerve::queue::Job;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::fake_queue::FakeQueue;
use crate::harness::record::{job_record, owner};

/// The longest that a test waits for an event.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Fails the test instead of letting it hang.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, future).await.unwrap_or_else(|_| panic!("{what}: nothing happened"))
}

/// An outbox that runs against a [`FakeQueue`].
pub(super) struct RunningOutbox {
    pub(super) queue: Arc<FakeQueue>,
    pub(super) clock: Arc<Manual>,
    outbox: JoinHandle<()>,
    shutdown: CancellationToken,
    _stop: DropGuard,
}

/// Settings under which loopback may be called and a try takes at most two seconds.
pub(super) fn loopback_settings() -> CallbackSettings {
    CallbackSettings {
        allow: vec!["127.0.0.0/8".parse().expect("a network")],
        timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(1),
        ..CallbackSettings::default()
    }
}

/// Nobody's calls are signed: what is signed is tested with whole servers.
struct NoSecrets;

impl SigningSecrets for NoSecrets {
    fn secrets(&self, _: &Owner, _: Timestamp) -> Vec<WebhookSecret> {
        Vec::new()
    }
}

impl RunningOutbox {
    /// Starts an outbox that resolves names as the machine does.
    pub(super) fn start(settings: &CallbackSettings) -> Self {
        Self::start_with(settings, Arc::new(SystemResolver))
    }

    /// Starts an outbox that asks `resolver`.
    pub(super) fn start_with(settings: &CallbackSettings, resolver: Arc<dyn Resolver>) -> Self {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let clock = Arc::new(Manual::at(Timestamp::from_millis(784_111_777_000)));
        let queue = Arc::new(FakeQueue::new(clock.clone()));
        let client =
            WebhookClient::new(settings, resolver, Arc::new(PlainCallbacks), Arc::new(NoSecrets), clock.clone())
                .expect("a webhook client");
        let shutdown = CancellationToken::new();
        let outbox = Outbox::new(queue.clone(), client, settings, clock.clone());
        let outbox = tokio::spawn(outbox.run(shutdown.clone()));
        Self { queue, clock, outbox, _stop: shutdown.clone().drop_guard(), shutdown }
    }

    /// Lets time pass for the queue, rounded up to what the clock can show.
    pub(super) fn advance(&self, by: Duration) {
        self.clock.advance(by + Duration::from_millis(1));
        self.queue.due.notify_one();
    }

    /// Asks the outbox to stop.
    pub(super) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the outbox has stopped.
    pub(super) async fn stopped(self) {
        soon("stopping", self.outbox).await.expect("the outbox doesn't panic");
    }
}

/// A "sealed" URL is one; "sealed" headers are lines of `name: value`; anything else doesn't open.
struct PlainCallbacks;

impl OpenCallback for PlainCallbacks {
    fn open(&self, _: &JobId, target: &CallbackTarget) -> Result<(Url, Vec<CallbackHeader>), String> {
        let url = target.sealed_url.as_ref().map_or(Ok(target.url.clone()), |sealed| sealed.0.parse());
        let url = url.map_err(|_| "the seal is broken".to_owned())?;
        let Some(sealed) = &target.sealed_headers else { return Ok((url, Vec::new())) };
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some(CallbackHeader { name: name.parse().ok()?, value: SecretString::from(value) })
        };
        let headers = sealed.0.split('|').map(|line| header(line).ok_or_else(|| "the seal is broken".to_owned()));
        Ok((url, headers.collect::<Result<_, _>>()?))
    }
}

/// A job that ended well and owes a callback to `url`.
pub(super) fn completed(url: &str) -> Job {
    completed_of(owner("user-123"), url)
}

/// The same of this owner.
pub(super) fn completed_of(owner: Owner, url: &str) -> Job {
    let created_at = Timestamp::from_millis(1_700_000_000_000);
    let sha256 = ContentHash::of(b"the original");
    let mut record = job_record(JobId::new(created_at), owner, (sha256, 12), created_at);
    record.callback = Some(CallbackTarget {
        url: url.parse().expect("a URL"),
        sealed_url: None,
        sealed_headers: None,
        events: CallbackEvents::default(),
    });
    record.original = Original { format: SourceFormat::Png, width: 3, height: 2, ..record.original };
    let name = record.original_name();
    let stored = Stored::at("directHost", format!("/files/{name}"));
    let file = StoredFile {
        name,
        format: "png".to_owned(),
        width: 3,
        height: 2,
        bytes: 12,
        sha256,
        warnings: Warnings::new(),
        same_as: None,
        stored: vec![stored],
    };
    Job {
        record,
        state: State::Completed,
        seq: 1,
        attempts: 1,
        crashes: 0,
        not_before: None,
        started_at: Some(created_at),
        finished_at: Some(created_at.after(Duration::from_millis(2_500))),
        error: None,
        changes: 1,
        placeholder: None,
        retried_as: None,
        files: vec![file],
    }
}

/// The same with these headers, `name: value` joined by `|`.
pub(super) fn with_headers(mut job: Job, headers: &str) -> Job {
    let target = job.record.callback.as_mut().expect("it has a callback");
    target.sealed_headers = Some(SealedText(headers.to_owned()));
    job
}

/// What a receiver was sent.
pub(super) struct Received {
    pub(super) method: http::Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A receiver on loopback that answers from a list, then 200.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    received: AsyncMutex<mpsc::UnboundedReceiver<Received>>,
}

/// A reply without a body.
pub(super) fn reply(status: u16, headers: &[(&str, &str)]) -> Response<String> {
    let reply = Response::builder().status(status);
    let reply = headers.iter().fold(reply, |reply, (name, value)| reply.header(*name, *value));
    reply.body(String::new()).expect("a reply")
}

impl Receiver {
    /// Starts on a free port of 127.0.0.1.
    pub(super) async fn start(replies: Vec<Response<String>>) -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), replies).await
    }

    /// Starts on `address`.
    pub(super) async fn start_on(address: SocketAddr, replies: Vec<Response<String>>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (sender, received) = mpsc::unbounded_channel();
        let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
        let app = Router::new().fallback(move |request: Request| {
            let (sender, replies) = (sender.clone(), replies.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
                let target = head.uri.to_string();
                let _ = sender.send(Received { method: head.method, target, headers: head.headers, body });
                let next = replies.lock().expect("no poison").pop_front();
                next.map_or_else(|| StatusCode::OK.into_response(), IntoResponse::into_response)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, received: AsyncMutex::new(received) }
    }

    /// A URL of this receiver.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits for the next request.
    pub(super) async fn request(&self) -> Received {
        soon("a request", async { self.received.lock().await.recv().await }).await.expect("the receiver lives")
    }

    /// How many requests are there that nobody waited for.
    pub(super) async fn pending(&self) -> usize {
        self.received.lock().await.len()
    }
}

/// A listener that nobody may connect to.
pub(super) struct Canary(StdListener);

impl Canary {
    /// Listens on a free port of 127.0.0.1.
    pub(super) fn listen() -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("non-blocking");
        Self(listener)
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.0.local_addr().expect("its address").port()
    }

    /// Panics if anyone connected. The kernel queues a connection before `connect` returns, so none is missed.
    pub(super) fn assert_untouched(&self) {
        let touched = self.0.accept();
        assert!(matches!(&touched, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "{touched:?}");
    }
}

/// A resolver that answers from a list, whatever the name, and counts.
pub(super) struct ScriptedResolver {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
}

impl ScriptedResolver {
    /// Answers these, one a look-up.
    pub(super) fn answering(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().expect("an address")).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(parse).collect()) })
    }

    /// Answers nobody asked for yet.
    pub(super) fn left(&self) -> usize {
        self.answers.lock().expect("no poison").len()
    }
}

#[async_trait]
impl Resolver for ScriptedResolver {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let answer = self.answers.lock().expect("no poison").pop_front();
        answer.ok_or_else(|| io::Error::other(format!("{host} was looked up once more than expected")))
    }
}
