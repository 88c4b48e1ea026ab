//! A proxy on loopback that does to connections what networks and overloaded servers do.
//!
//! It looks at the head of a request and then only moves bytes, so it suits every protocol on top of HTTP/1. Each
//! request gets a connection of its own (`connection: close` is put into it), so a fault hits exactly one request.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// Bytes of a request's head that are read; more is nothing a client of ours sends.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What to do to one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing: it passes.
    Pass,
    /// The connection closes without an answer; nothing is passed on.
    Drop,
    /// The same by a reset.
    Reset,
    /// The request is never read to its end, and nothing is ever answered.
    StallRequest,
    /// The request is passed on, but the client sees only so many bytes of the answer and then nothing more.
    StallReplyAfter(usize),
    /// A reset both ways after so many bytes of the request's body were passed on.
    ResetRequestAfter(usize),
    /// A reset towards the client after so many bytes of the answer.
    ResetReplyAfter(usize),
    /// The proxy answers itself.
    Answer(StatusCode, Vec<(&'static str, String)>, String),
    /// Both directions at this many bytes each 10 ms.
    Slow(usize),
    /// The request is passed on and done, and the answer is thrown away.
    LoseReply,
    /// Passed on so much later.
    Late(Duration),
}

impl Fault {
    /// An error as S3 says it.
    pub(crate) fn s3_error(status: u16, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>");
        let status = StatusCode::from_u16(status).expect("a status");
        Self::Answer(status, vec![("content-type", "application/xml".to_owned())], body)
    }
}

/// The first line of a request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// How many came before it.
    pub(crate) number: usize,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
}

type Script = Box<dyn Fn(&Asked) -> Fault + Send + Sync>;

struct Inner {
    upstream: SocketAddr,
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
}

/// The proxy. It ends, and with it every connection, when it is dropped.
pub(crate) struct FaultProxy {
    pub(crate) addr: SocketAddr,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in front of `upstream` that passes everything, for now.
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let inner =
            Arc::new(Inner { upstream, script: Mutex::new(Box::new(|_| Fault::Pass)), asked: Mutex::default() });
        let serving = tokio::spawn(serve(listener, Arc::clone(&inner)));
        Self { addr, inner, serving }
    }

    /// Its address as an endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on does what `script` says of each request.
    pub(crate) fn script(&self, script: impl Fn(&Asked) -> Fault + Send + Sync + 'static) {
        *self.inner.script.lock().expect("not poisoned") = Box::new(script);
    }

    /// Stops listening: from now on connections are refused.
    pub(crate) async fn refuse(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    /// Listens again, after [`FaultProxy::refuse`].
    pub(crate) async fn accept_again(&mut self) {
        let listener = TcpListener::bind(self.addr).await.expect("its port is free");
        self.serving = tokio::spawn(serve(listener, Arc::clone(&self.inner)));
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.inner.asked.lock().expect("not poisoned").clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Connections end with this task, since they are its own.
async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let inner = Arc::clone(&inner);
                connections.spawn(async move {
                    // A broken connection is what this is for.
                    let _ = one(stream, &inner).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn one(mut client: TcpStream, inner: &Inner) -> io::Result<()> {
    let (head, mut body) = read_head(&mut client).await?;
    let asked = {
        let mut all = inner.asked.lock().expect("not poisoned");
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let asked = Asked { number: all.len(), method: method.to_owned(), target: target.to_owned() };
        all.push(asked.clone());
        asked
    };
    let fault = (inner.script.lock().expect("not poisoned"))(&asked);
    match fault {
        Fault::Drop => return Ok(()),
        Fault::Reset => return reset(client),
        Fault::StallRequest => return std::future::pending().await,
        Fault::Answer(status, headers, text) => return answer(client, status, &headers, &text).await,
        Fault::Late(by) => tokio::time::sleep(by).await,
        _ => {}
    }
    let mut server = TcpStream::connect(inner.upstream).await?;
    server.write_all(once(&head).as_bytes()).await?;
    if let Fault::ResetRequestAfter(limit) = fault {
        while body.len() < limit && client.read_buf(&mut body).await? > 0 {}
        body.truncate(limit);
        server.write_all(&body).await?;
        reset(server)?;
        return reset(client);
    }
    server.write_all(&body).await?;
    let pace = if let Fault::Slow(bytes) = fault { Some(bytes) } else { None };
    let shown = match fault {
        Fault::StallReplyAfter(bytes) | Fault::ResetReplyAfter(bytes) => bytes,
        Fault::LoseReply => 0,
        _ => usize::MAX,
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let requesting = async {
        let _ = copy(&mut from_client, &mut to_server, usize::MAX, pace).await;
        // A client that has nothing more to say is not one that hangs up; the answer ends this.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = requesting => {}
        _ = copy(&mut from_server, &mut to_client, shown, pace) => {}
    }
    match fault {
        Fault::StallReplyAfter(_) => std::future::pending().await,
        Fault::ResetReplyAfter(_) | Fault::LoseReply => reset(client),
        _ => to_client.shutdown().await,
    }
}

/// Moves everything, shows the other side the first `shown` bytes of it, and no more than `pace` bytes each 10 ms.
async fn copy(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut shown: usize,
    pace: Option<usize>,
) -> io::Result<()> {
    let mut block = vec![0; pace.unwrap_or(64 * 1024).max(1)];
    loop {
        let read = from.read(&mut block).await?;
        if read == 0 {
            return Ok(());
        }
        let show = read.min(shown);
        shown -= show;
        to.write_all(&block[..show]).await?;
        if pace.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A request's head, and what came of its body with it.
async fn read_head(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = seen.split_off(end + 4);
            return String::from_utf8(seen).map(|head| (head, body)).map_err(io::Error::other);
        }
        if seen.len() > HEAD_BYTES_MAX || client.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The head, asking for the connection to end after the answer.
fn once(head: &str) -> String {
    let lines = head.trim_end().split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    lines.chain(["connection: close", "", ""]).collect::<Vec<_>>().join("\r\n")
}

async fn answer(
    mut client: TcpStream,
    status: StatusCode,
    headers: &[(&'static str, String)],
    body: &str,
) -> io::Result<()> {
    let headers =
        headers.iter().map(|(name, value)| [*name, ": ", value, "\r\n"].concat()).collect::<Vec<_>>().concat();
    let length = body.len();
    let reply = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    client.write_all(reply.as_bytes()).await?;
    client.shutdown().await?;
    // What the client still sends must be taken, or the answer would be lost to a reset.
    let mut sink = tokio::io::sink();
    let drained = copy(&mut client, &mut sink, usize::MAX, None);
    tokio::time::timeout(Duration::from_secs(10), drained).await.unwrap_or(Ok(()))
}

fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()?;
    drop(stream);
    Ok(())
}

/// An address at which connecting takes for ever: it listens, accepts nobody, and has no room for more.
pub(crate) struct BlackHole {
    pub(crate) addr: SocketAddr,
    _listener: TcpListener,
    _filled_with: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) async fn start() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// The same at an address of the test's choice, where nobody listens.
    pub(crate) async fn at(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Connections of whoever listened there before may linger.
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(addr).expect("a port");
        let listener = socket.listen(1).expect("it listens");
        let addr = listener.local_addr().expect("an address");
        let mut filled_with = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
            filled_with.push(stream);
            assert!(filled_with.len() < 64, "its queue never fills");
        }
        Self { addr, _listener: listener, _filled_with: filled_with }
    }
}
