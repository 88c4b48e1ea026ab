//! What is told of a request for a private file: not its query, nowhere. And the command that signs for one.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::home::{location, private_job, reading};
use crate::harness::app::poll_delay;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::token::Claims;

/// The answer to bytes that are sent as they are.
async fn raw(home: &Home, request: &str) -> String {
    let mut connection = TcpStream::connect(home.addr).await.expect("connected");
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let reading = connection.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_mins(1), reading).await.expect("it closes").expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_in_an_address_is_in_no_log_and_no_answer_at_any_level() {
    for format in ["json", "pretty"] {
        let home = Home::new(&[
            ("PIXERVE_LOG", "trace"),
            ("PIXERVE_LOG_FORMAT", format),
            ("PIXERVE_LOG_BYTES_MAX", "1 GiB"),
            ("PIXERVE_SERVER_HTTP2", "true"),
        ]);
        let server = home.start().await;
        let done = server.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
        let location = location(&done).to_owned();
        let token = reading(&Claims::of("ann"), "/").sign();
        let signature = token.rsplit('.').next().expect("three parts").to_owned();
        let bad = format!("{}x", &token[..token.len() - 1]);
        let other = reading(&Claims::of("bob"), "/").sign();
        let secrets = [signature.as_str(), &bad[bad.len() - 20..], other.rsplit('.').next().expect("three parts")];

        let mut answers = String::new();
        for token in [&token, &bad, &other] {
            for path in [&location, "/private/none.jpg", "/private/", "/files/none.jpg", "/status", "/nothing"] {
                for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS] {
                    let answer =
                        server.request(method, &format!("{path}?token={token}")).send().await.expect("an answer");
                    answers.extend(format!("{:?}", answer.headers()).chars());
                    answers.push_str(&String::from_utf8_lossy(&answer.bytes().await.expect("a body")));
                }
            }
        }
        // HTTP/2, and what is no request at all.
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
        let answer =
            client.get(format!("http://{}{location}?token={token}", home.addr)).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
        drop(answer.bytes().await.expect("a body"));
        for request in [
            format!("GET {location}?token={token} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            format!("GET {location}?token={token} HTTP/1.1\r\nBad header\r\n\r\n"),
            format!("GET {location}?token={token} HTTP/3.7\r\n\r\n"),
            format!("GET {location}?token={token}\x01 HTTP/1.1\r\n\r\n"),
            format!("GET {location}?x={}&token={token} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000)),
        ] {
            answers.push_str(&raw(&home, &request).await);
        }
        // The last line is written when the last answer has been sent.
        while !home.log().contains(&location) {
            poll_delay().await;
        }
        let mut server = server;
        server.terminate();
        assert!(server.exited().await.success(), "{}", home.terminal());
        let (log, terminal) = (home.log(), home.terminal());
        assert!(log.len() > 10_000 && log.contains(&location), "something was logged, and paths are");
        for secret in secrets {
            for (what, text) in [("log", &log), ("terminal", &terminal), ("answers", &answers)] {
                let line = text.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "{what}, {format}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_signs_what_reads_private_files_and_nothing_else() {
    let home = Home::new(&[]);
    let server = home.start().await;
    let done = server.done("ann", private_job(), "cat.jpg", jpeg(32, 24, 1)).await;
    let location = location(&done);
    let signed = |arguments: &[&str]| {
        let output = home.command(&[&["token", "--sub", "ann"], arguments].concat()).output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).trim().to_owned();
        (output.status.code(), said)
    };
    for paths in [&["--read", location][..], &["--read", "/private/x/", "--read", location], &["--read", "/private/"]] {
        let (code, token) = signed(&[paths, &["--ttl", "1h"]].concat());
        assert_eq!(code, Some(0), "{token}");
        assert_eq!(server.get(&format!("{location}?token={token}")).await.status(), 200, "{paths:?}");
        let cancelled = server.request(Method::DELETE, "/cancel?job_id=01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!(cancelled.bearer_auth(token).send().await.expect("an answer").status(), 403);
    }
    for (arguments, word) in [
        (&["--read", "/private/../x"][..], "read"),
        (&["--read", "x"], "read"),
        (&["--read", location, "--admin"], "--admin"),
        (&["--read", location, "--scope", "manage"], "--scope"),
    ] {
        let (code, said) = signed(arguments);
        assert!(code.is_some_and(|code| code != 0) && said.contains(word), "{arguments:?}: {said}");
    }
}
