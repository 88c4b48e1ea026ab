//! Callbacks by HTTPS: who is called is who the certificate names, at the address that was checked.
//!
//! The certificate here is for `localhost`, by an authority that nobody trusts unless a test says so. Its key is no
//! secret: it is published here.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::Acceptor;

use super::harness::{RunningOutbox, ScriptedResolver, completed, loopback_settings, soon};
use crate::harness::app::small_job;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/callback/tls/authority.pem");

/// What a receiver saw of one connection.
#[derive(Debug)]
struct Seen {
    /// The name that the client asked for.
    name: Option<String>,
    /// What it sent, if it got that far.
    request: Option<String>,
}

/// A receiver on 127.0.0.1 that speaks TLS.
struct Receiver {
    port: u16,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Receiver {
    async fn start() -> Self {
        let certificate = CertificateDer::from(include_bytes!("tls/localhost.der").as_slice());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(include_bytes!("tls/localhost.key.der").as_slice()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let Ok(start) = tokio_rustls::LazyConfigAcceptor::new(Acceptor::default(), stream).await else {
                        return;
                    };
                    let name = start.client_hello().server_name().map(str::to_owned);
                    let request = match start.into_stream(acceptor.config().clone()).await {
                        Ok(mut stream) => {
                            let mut request = vec![0; 64 * 1024];
                            let read = stream.read(&mut request).await.unwrap_or(0);
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                            let _ = stream.shutdown().await;
                            (read > 0).then(|| String::from_utf8_lossy(&request[..read]).into_owned())
                        }
                        Err(_) => None,
                    };
                    let _ = sender.send(Seen { name, request });
                });
            }
        });
        Self { port, seen }
    }

    async fn seen(&mut self) -> Seen {
        soon("a connection", self.seen.recv()).await.expect("the receiver lives")
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_we_trust_is_refused_before_anything_is_said() {
    let mut receiver = Receiver::start().await;
    let resolver = ScriptedResolver::answering(&[&["127.0.0.1"]]);
    let running = RunningOutbox::start_with(&loopback_settings(), resolver.clone());
    running.queue.owe(completed(&format!("https://hook.test:{}/secret-path", receiver.port)));
    running.queue.retry().await;
    let seen = receiver.seen().await;
    assert_eq!(seen.name.as_deref(), Some("hook.test"), "the checked address, asked for by the URL's name");
    assert_eq!((seen.request, resolver.left()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_trusted_and_name_the_urls_host() {
    let home = Home::new(&[("SSL_CERT_FILE", AUTHORITY), ("PIXERVE_CALLBACK_ALLOW", "127.0.0.0/8,::1/128")]);
    let server = home.start().await;
    let mut receiver = Receiver::start().await;
    let call = async |host: &str, seed| {
        let mut job = small_job();
        job["completionCallback"] = json!(format!("https://{host}:{}/hook", receiver.port));
        server.done("me", job, "a.jpg", jpeg(20, 20, seed)).await
    };
    let status = call("localhost", 1).await;
    let other = call("127.0.0.1", 2).await;
    assert_eq!((&status["state"], &other["state"]), (&json!("completed"), &json!("completed")));

    let mut taken = Vec::new();
    while taken.is_empty() {
        let seen = receiver.seen().await;
        match seen.name.as_deref() {
            Some("localhost") => taken.push(seen.request.expect("a trusted receiver is told")),
            name => assert_eq!((name, &seen.request), (None, &None), "the certificate does not name 127.0.0.1"),
        }
    }
    assert!(taken[0].starts_with("POST /hook HTTP/1.1\r\n"), "{}", taken[0]);
    assert!(taken[0].contains(status["job_id"].as_str().expect("an id")));
    // Nothing but refusals may follow: the other URL's host is not in the certificate.
    let later = tokio::time::timeout(Duration::from_millis(500), receiver.seen.recv()).await;
    assert!(later.is_err() || later.is_ok_and(|seen| seen.is_none_or(|seen| seen.request.is_none())));
}
