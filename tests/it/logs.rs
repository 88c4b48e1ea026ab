//! What the log says of a request, and that nobody waits for whoever reads it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::harness::app::{WAIT_MAX, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};

/// The first line of which this holds, waited for.
async fn line_of(home: &Home, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let mut lines = home.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>();
        if let Some(at) = lines.iter().position(&is_it) {
            return lines.swap_remove(at);
        }
        assert!(started.elapsed() < WAIT_MAX, "no line of {what}: {}", home.log());
        poll_delay().await;
    }
}

/// The line of the answer to this path.
async fn access_line(home: &Home, path: &str) -> Value {
    line_of(home, path, |line| line["message"] == "request answered" && line["path"] == path).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_completed_job_says_what_each_stage_took() {
    let home = Home::new(&[("PIXERVE_LOG_FORMAT", "json")]);
    let server = home.start().await;
    let accepted = server.accepted("me", small_job(), "a.jpg", jpeg(100, 80, 1)).await;
    server.ended(&accepted).await;
    let line = line_of(&home, "the job", |line| line["message"] == "job completed").await;
    let [whole, making, storing] =
        ["duration_ms", "making_ms", "storing_ms"].map(|field| line[field].as_u64().expect("a number"));
    // Its pixels were made by a process that had to be started, and its one file lay in its place at once.
    assert!(making > 0 && whole >= making && storing <= whole, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_line_says_who_got_what_in_numbers() {
    let home = Home::new(&[("PIXERVE_LOG_FORMAT", "json")]);
    let server = home.start().await;
    let accepted = server.accepted("me", small_job(), "a.jpg", jpeg(100, 80, 1)).await;
    let status = server.ended(&accepted).await;
    let line = access_line(&home, "/upload").await;
    assert_eq!((line["status"].as_u64(), line["code"].is_null()), (Some(200), true), "{line}");
    assert!(line["bytes_in"].as_u64().expect("a number") > jpeg(100, 80, 1).len() as u64, "{line}");
    assert!(line["bytes_out"].as_u64().expect("a number") > 100 && line["ms"].is_u64(), "{line}");
    assert_eq!(line["peer"], "127.0.0.1", "{line}");

    let location = status["files"][0]["stored"][0]["location"].as_str().expect("a location");
    let file = server.file(location).await;
    assert_eq!(access_line(&home, location).await["bytes_out"], file.len());

    let request = server.request(Method::GET, "/register").header("x-forwarded-for", "192.0.2.7, 127.0.0.1");
    assert_eq!(request.send().await.expect("an answer").status(), 401);
    let line = access_line(&home, "/register").await;
    assert_eq!((&line["code"], &line["client"]), (&"unauthorized".into(), &"192.0.2.7".into()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_path_is_cut_in_the_log() {
    let home = Home::new(&[("PIXERVE_LOG_FORMAT", "json")]);
    let server = home.start().await;
    let path = format!("/files/{}", "a".repeat(7000));
    assert_eq!(server.get(&path).await.status(), 404);
    let line = access_line(&home, &format!("{}...", &path[..512])).await;
    assert!(line.to_string().len() < 1500, "{line}");
}

/// A pipe that nobody reads, full to its last byte, as the terminal of a server.
struct FullPipe {
    pipe: File,
}

impl FullPipe {
    fn new(home: &Home) -> (Self, Command) {
        let path = home.root().join("terminal.pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .expect("a pipe");
        // For reading as well, so that opening it waits for nobody.
        let pipe = File::options().read(true).write(true).open(&path).expect("it opens");
        let flags = fcntl_getfl(pipe.as_fd()).expect("its flags");
        fcntl_setfl(pipe.as_fd(), flags | OFlags::NONBLOCK).expect("they are set");
        while rustix::io::write(&pipe, &[b'x'; 4096]).is_ok() {}
        while rustix::io::write(&pipe, b"x").is_ok() {}
        let mut program = Command::new("sh");
        program.args(["-c", "exec \"$1\" 2>\"$0\"", path.to_str().expect("UTF-8")]);
        (Self { pipe }, program)
    }

    /// Reads until there is a line in JSON that `is_it`.
    async fn read_until(mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let (started, mut all, mut some) = (Instant::now(), Vec::new(), vec![0; 1 << 16]);
        loop {
            match self.pipe.read(&mut some) {
                Ok(bytes) => all.extend(&some[..bytes]),
                Err(_) => poll_delay().await,
            }
            while let Some(end) = all.iter().position(|&byte| byte == b'\n') {
                let line = all.drain(..=end).collect::<Vec<u8>>();
                match serde_json::from_slice(&line) {
                    Ok(line) if is_it(&line) => return line,
                    _ => {}
                }
            }
            assert!(started.elapsed() < WAIT_MAX, "it does not come");
        }
    }
}

async fn every_route_answers(server: &ServerProcess) {
    let accepted = server.accepted("me", small_job(), "a.jpg", jpeg(100, 80, 1)).await;
    assert_eq!(server.ended(&accepted).await["state"], "completed");
    for path in ["/health", "/version", "/files/none.jpg", "/success?hash=x", "/failures?hash=x", "/status?hash=x"] {
        assert!(server.get(path).await.status().as_u16() < 500, "{path}");
    }
    for path in ["/register", "/success/list", "/failures/list"] {
        assert_eq!(server.admin(Method::GET, path, None).await.status(), 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_terminal_that_nobody_reads_every_route_answers_and_a_stop_ends_in_time() {
    const REQUESTS: usize = 3000;
    let home = Home::new(&[("PIXERVE_LOG_FILE", ""), ("PIXERVE_SERVER_RATE_PER_ADDRESS", "0")]);
    let (_pipe, program) = FullPipe::new(&home);
    let mut server = home.spawn_by(program, &[]);
    home.answers(&mut server).await;
    let flood = async {
        for number in 0..REQUESTS {
            assert_eq!(server.get(&format!("/files/{number}.jpg")).await.status(), 404);
        }
        every_route_answers(&server).await;
    };
    timeout(WAIT_MAX, flood).await.expect("nobody waits for a log line");
    let asked = Instant::now();
    server.terminate();
    assert!(server.exited().await.success());
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_nobody_could_read_are_counted_and_told() {
    // More than wait for their reader.
    const REQUESTS: usize = 10_000;
    let home = Home::new(&[
        ("PIXERVE_LOG_FILE", ""),
        ("PIXERVE_LOG_FORMAT", "json"),
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"),
    ]);
    let (pipe, program) = FullPipe::new(&home);
    let mut server = home.spawn_by(program, &[]);
    home.answers(&mut server).await;
    let asked = (0..8).map(|_| async {
        for _ in 0..REQUESTS / 8 {
            assert_eq!(server.get("/files/none.jpg").await.status(), 404);
        }
    });
    futures_util::future::join_all(asked).await;
    // Whatever was told before, and dropped with the rest, is told again.
    let told = |line: &Value| {
        line["message"].as_str().is_some_and(|text| text.contains("dropped"))
            && line["lines"].as_u64().expect("a number") > 500
    };
    assert_eq!(pipe.read_until(told).await["output"], "terminal");
}

#[test]
fn a_token_that_cannot_be_written_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().expect("a directory");
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    let output = Command::new(env!("CARGO_BIN_EXE_pixerve"))
        .arg("token")
        .env_clear()
        .env("PIXERVE_JWT_SECRET", "a secret of more than thirty-two bytes")
        .current_dir(dir.path())
        .stdout(full)
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("writing the token to standard output") && !told.contains("panicked"), "{told}");
}
