//! URLs that lead astray, receivers that misbehave, and what the log says of them.

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pixerve::callback::CallbackSettings;
use pixerve::job::Owner;
use pixerve::queue::DeliveryOutcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

use super::address::{REFUSED, address};
use super::harness::{
    Canary, Receiver, RunningOutbox, ScriptedResolver, completed, completed_of, loopback_settings, reply, soon,
    with_headers,
};

/// Reads a request's head, answers, and closes.
pub(super) async fn answer(mut stream: TcpStream, reply: &[u8]) {
    read_head(&mut stream).await;
    stream.write_all(reply).await.expect("answering");
}

async fn read_head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read_buf(&mut seen).await.expect("reading");
        assert_ne!(read, 0, "closed before the head was through");
    }
}

/// Of many subs, to receivers that take a connection and never answer: many hosts, or one.
#[tokio::test]
async fn a_user_who_calls_receivers_that_never_answer_holds_no_callback_of_another() {
    for hosts in [40, 1] {
        let tarpits: Vec<_> = (1..=hosts).map(|n| StdListener::bind((Ipv4Addr::new(127, 0, 9, n), 0))).collect();
        let tarpits: Vec<_> = tarpits.into_iter().map(|listener| listener.expect("a free port")).collect();
        // Longer than the test waits.
        let settings = CallbackSettings { timeout: Duration::from_mins(10), ..loopback_settings() };
        let running = RunningOutbox::start(&settings);
        for n in 0..160 {
            let owner = Owner { user: Some("greedy".to_owned()), access_key: None, sub: format!("sub-{}", n % 120) };
            let address = tarpits[n % tarpits.len()].local_addr().expect("its address");
            running.queue.owe(completed_of(owner, &format!("http://{address}/")));
        }
        // The first of them are under way.
        let first = tarpits[0].try_clone().expect("a listener");
        let called = soon("a call", tokio::task::spawn_blocking(move || first.accept())).await.expect("a task");
        let _unanswered = called.expect("a connection");
        let receiver = Receiver::start(vec![]).await;
        for sub in ["a", "b", "c"] {
            let owner = Owner { user: None, access_key: None, sub: sub.to_owned() };
            let id = running.queue.owe(completed_of(owner, &receiver.url("/")));
            receiver.request().await;
            assert_eq!(running.queue.settlement().await.0, id);
        }
    }
}

#[tokio::test]
async fn loopback_and_its_spellings_are_refused_without_a_connect() {
    let canary = Canary::listen();
    let running = RunningOutbox::start(&CallbackSettings::default());
    for host in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"] {
        let id = running.queue.owe(completed(&format!("http://{host}:{}/", canary.port())));
        assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::GivenUp), "{host} is not retried");
    }
    canary.assert_untouched();
}

/// A port at which this machine listens on every address it has, for both families.
fn listening_everywhere() -> (std::net::TcpListener, Option<std::net::TcpListener>, u16) {
    let v4 = std::net::TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = v4.local_addr().expect("its address").port();
    // Not every machine has IPv6, and where it covers IPv4 as well the port is taken already.
    let v6 = std::net::TcpListener::bind(("::1", port)).ok();
    for listener in [Some(&v4), v6.as_ref()].into_iter().flatten() {
        listener.set_nonblocking(true).expect("non-blocking");
    }
    (v4, v6, port)
}

fn assert_nobody_came((v4, v6, _): &(std::net::TcpListener, Option<std::net::TcpListener>, u16)) {
    for listener in [Some(v4), v6.as_ref()].into_iter().flatten() {
        let touched = listener.accept();
        assert!(matches!(&touched, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "{touched:?}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_refused_address_leads_to_a_connect() {
    let canary = listening_everywhere();
    let running = RunningOutbox::start(&CallbackSettings::default());
    for host in REFUSED {
        let id = running.queue.owe(completed(&format!("http://{host}:{}/", canary.2)));
        assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::GivenUp), "{host} is not retried");
    }
    assert_nobody_came(&canary);
}

#[tokio::test]
async fn no_name_that_resolves_to_a_refused_address_leads_to_a_connect() {
    let canary = listening_everywhere();
    for host in REFUSED {
        let refused = address(host).to_string();
        // Alone, and behind one that is allowed and leads nowhere.
        for answer in [vec![refused.as_str()], vec!["127.0.0.2", refused.as_str()]] {
            let resolver = ScriptedResolver::answering(&[&answer]);
            let settings = CallbackSettings { allow: only_127_0_0_2().allow, ..CallbackSettings::default() };
            let running = RunningOutbox::start_with(&settings, resolver.clone());
            running.queue.owe(completed(&format!("http://rebind.test:{}/", canary.2)));
            running.queue.retry().await;
            assert_eq!(resolver.left(), 0, "{host}");
        }
    }
    assert_nobody_came(&canary);
}

#[tokio::test]
async fn a_name_of_loopback_is_refused_without_a_connect_and_asked_again_later() {
    let canary = Canary::listen();
    let running = RunningOutbox::start(&CallbackSettings::default());
    running.queue.owe(completed(&format!("http://localhost:{}/", canary.port())));
    running.queue.retry().await;
    canary.assert_untouched();
}

/// Settings under which one address of loopback may be called: it stands for a public one, and no packet leaves the
/// machine even if a check is missing.
fn only_127_0_0_2() -> CallbackSettings {
    CallbackSettings { allow: vec!["127.0.0.2/32".parse().expect("a network")], ..loopback_settings() }
}

#[tokio::test]
async fn one_forbidden_address_among_allowed_ones_refuses_the_name() {
    for answer in [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "::ffff:127.0.0.1"]] {
        let canary = Canary::listen();
        let receiver = Receiver::start_on(([127, 0, 0, 2], canary.port()).into(), vec![]).await;
        let resolver = ScriptedResolver::answering(&[&answer]);
        let running = RunningOutbox::start_with(&only_127_0_0_2(), resolver.clone());
        running.queue.owe(completed(&format!("http://rebind.test:{}/", canary.port())));
        running.queue.retry().await;
        canary.assert_untouched();
        assert_eq!((receiver.pending().await, resolver.left()), (0, 0), "{answer:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_rebound_between_tries_reaches_nothing() {
    let canary = Canary::listen();
    let receiver = Receiver::start_on(([127, 0, 0, 2], canary.port()).into(), vec![reply(500, &[])]).await;
    let resolver = ScriptedResolver::answering(&[&["127.0.0.2"], &["127.0.0.1"], &["127.0.0.2"]]);
    let running = RunningOutbox::start_with(&only_127_0_0_2(), resolver.clone());
    let id = running.queue.owe(completed(&format!("http://rebind.test:{}/", canary.port())));

    assert_eq!(receiver.request().await.headers["host"], format!("rebind.test:{}", canary.port()));
    let wait = running.queue.retry().await;
    assert_eq!(resolver.left(), 2, "one look-up a try: none between the check and the connect");
    running.advance(wait);
    let wait = running.queue.retry().await;
    assert_eq!(resolver.left(), 1, "no connection was kept from before");
    canary.assert_untouched();
    running.advance(wait);
    receiver.request().await;
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered), "and it recovers");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let canary = Canary::listen();
        let location = format!("http://127.0.0.1:{}/", canary.port());
        let receiver = Receiver::start(vec![reply(status, &[("location", &location)])]).await;
        let running = RunningOutbox::start(&loopback_settings());
        running.queue.owe(completed(&receiver.url("/")));
        receiver.request().await;
        running.queue.retry().await;
        canary.assert_untouched();
    }
}

#[tokio::test]
async fn a_status_that_never_comes_is_a_failed_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let settings = CallbackSettings { timeout: Duration::from_millis(300), ..loopback_settings() };
    let running = RunningOutbox::start(&settings);
    running.queue.owe(completed(&format!("http://{}/", listener.local_addr().expect("its address"))));
    let (mut stream, _) = soon("a connection", listener.accept()).await.expect("accepting");
    read_head(&mut stream).await;
    let trickle = tokio::spawn(async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await?;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            tick.tick().await;
            stream.write_all(b"z").await?;
        }
        #[expect(unreachable_code, reason = "says what `?` returns")]
        io::Result::Ok(())
    });
    running.queue.retry().await;
    assert!(soon("a hang-up", trickle).await.expect("no panic").is_err(), "the caller hung up");
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_off_and_the_status_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let settings = CallbackSettings { timeout: Duration::from_millis(300), ..loopback_settings() };
    let running = RunningOutbox::start(&settings);
    let id = running.queue.owe(completed(&format!("http://{}/", listener.local_addr().expect("its address"))));
    let (mut stream, _) = soon("a connection", listener.accept()).await.expect("accepting");
    read_head(&mut stream).await;
    // A byte, and then nothing for as long as the connection is open.
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nz").await.expect("answering");
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered));
    let mut rest = Vec::new();
    let _ = soon("a hang-up", stream.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn an_endless_body_is_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let settings = CallbackSettings { timeout: Duration::from_mins(10), ..loopback_settings() };
    let running = RunningOutbox::start(&settings);
    let id = running.queue.owe(completed(&format!("http://{}/", listener.local_addr().expect("its address"))));
    let (mut stream, _) = soon("a connection", listener.accept()).await.expect("accepting");
    read_head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await.expect("answering");
    let block = vec![b'z'; 64 * 1024];
    let mut sent = 0;
    let endless = async {
        while stream.write_all(&block).await.is_ok() {
            sent += block.len();
        }
    };
    soon("a hang-up", endless).await;
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes went out before the caller hung up");
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered));
}

#[tokio::test]
async fn a_line_break_can_not_get_into_a_header() {
    let canary = Canary::listen();
    let running = RunningOutbox::start(&loopback_settings());
    let url = format!("http://127.0.0.1:{}/", canary.port());
    for value in ["a\r\nx-injected: 1", "a\nx-injected: 1", "a\rb", "a\0b"] {
        let id = running.queue.owe(with_headers(completed(&url), &format!("x-note: {value}")));
        assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::GivenUp), "{value:?} is not retried");
    }
    canary.assert_untouched();

    let receiver = Receiver::start(vec![]).await;
    running.queue.owe(completed(&receiver.url("/hook%0d%0ax-injected:%201?q=%0d%0ax-injected:1")));
    assert!(!receiver.request().await.headers.contains_key("x-injected"));
}

#[tokio::test]
async fn a_jobs_headers_can_not_stand_in_for_ours() {
    let receiver = Receiver::start(vec![]).await;
    let running = RunningOutbox::start(&loopback_settings());
    let id = running.queue.owe(with_headers(completed(&receiver.url("/")), "webhook-id: forged"));
    let request = receiver.request().await;
    let ids: Vec<_> = request.headers.get_all("webhook-id").iter().collect();
    assert_eq!(ids, [&id.to_string()]);
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no poison").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_of_a_callback_reaches_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // With a single subscriber, `tracing` lets whichever thread comes first decide whether a line is wanted at all.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let _log = tracing::subscriber::set_default(subscriber);

    let receiver = Receiver::start(vec![reply(500, &[])]).await;
    let down = Canary::listen().port();
    let running = RunningOutbox::start_with(&loopback_settings(), ScriptedResolver::answering(&[]));
    let secret = |authority: String| {
        let url = format!("http://canaryuser:canarypass@{authority}/canarypath?key=canaryquery");
        with_headers(completed(&url), "authorization: Bearer canaryheader")
    };
    let id = running.queue.owe(secret(receiver.address.to_string()));
    running.queue.retry().await;
    for authority in [format!("127.0.0.1:{down}"), format!("[::1]:{down}"), "nowhere.invalid".to_owned()] {
        running.queue.owe(secret(authority));
        running.queue.settlement().await;
    }

    let log = String::from_utf8(log.0.lock().expect("no poison").clone()).expect("text");
    assert!(log.contains(&id.to_string()) && log.contains("127.0.0.1") && log.contains("500"), "{log}");
    let ours: Vec<_> = log.lines().filter(|line| line.contains("pixerve")).collect();
    assert!(ours.len() >= 4, "{log}");
    for line in ours {
        assert!(!line.contains("canary"), "{line}");
    }
}
