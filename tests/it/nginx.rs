//! Behind Debian's nginx with README's configuration: real traffic over TLS and HTTP/2.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::harness::app::{WAIT_MAX, assert_problem, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, reserve_port};
use crate::harness::token::Claims;
use crate::harness::tool::{Tool, program, require};

/// The block of README between its fences.
fn configuration() -> String {
    let readme = include_str!("../../README.md");
    let (_, block) = readme.split_once("```nginx\n").expect("README has a configuration");
    block.split_once("```").expect("it ends").0.to_owned()
}

/// `configuration` on a port of its own, with a certificate, before the server at `server`.
struct Nginx {
    addr: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Nginx {
    /// None where there is no nginx.
    async fn start(configuration: &str, server: SocketAddr) -> Option<Self> {
        let nginx = program("nginx").or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.is_file()));
        let nginx = require(Tool::Nginx, nginx)?;
        let (dir, addr) = (tempfile::tempdir().expect("a directory"), reserve_port());
        let file = |name: &str, text: &str| -> String {
            let path = dir.path().join(name);
            std::fs::File::create(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
                .expect("it is written");
            path.display().to_string()
        };
        let pem = |kind: &str, der: &[u8]| {
            let lines = BASE64_STANDARD.encode(der).into_bytes();
            let lines: Vec<_> = lines.chunks(64).map(String::from_utf8_lossy).collect();
            format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
        };
        let certificate = file("certificate.pem", &pem("CERTIFICATE", include_bytes!("callback/tls/localhost.der")));
        let key = file("key.pem", &pem("PRIVATE KEY", include_bytes!("callback/tls/localhost.key.der")));
        let site = replace(configuration, "    listen 443 ", &format!("    listen {addr} "));
        let site = replace(&site, "server 127.0.0.1:8080;", &format!("server {server};"));
        let site = replace(
            &site,
            "# ssl_certificate ...",
            &format!("ssl_certificate {certificate};\nssl_certificate_key {key};"),
        );
        let root = dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"))
            .concat();
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{site}\n}}\n"
        );
        let path = file("nginx.conf", &whole);
        let run = |more: &[&str]| {
            let mut command = Command::new(&nginx);
            command.args(["-e", "stderr", "-p"]).arg(dir.path()).args(["-c", &path]).args(more);
            command
        };
        let tested = run(&["-t"]).output().expect("nginx runs");
        let told = String::from_utf8_lossy(&tested.stderr).into_owned();
        assert!(tested.status.success() && !told.contains("[warn]"), "{told}\n{whole}");
        let child = run(&[]).stderr(Stdio::null()).spawn().expect("nginx starts");
        let started = Instant::now();
        while tokio::net::TcpStream::connect(addr).await.is_err() {
            assert!(started.elapsed() < WAIT_MAX, "nginx doesn't listen");
            poll_delay().await;
        }
        Some(Self { addr, child, _dir: dir })
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.addr)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `text` with its only `from` replaced.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in README's configuration: {text}");
    text.replace(from, to)
}

/// Somebody on the other side of the proxy, at an address that is no proxy of ours.
fn client() -> Client {
    let client = Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 0, 2]));
    client.tls_danger_accept_invalid_certs(true).build().expect("a client")
}

fn home(settings: &[(&str, &str)]) -> Home {
    let ours = [("PIXERVE_SERVER_TRUSTED_PROXIES", "127.0.0.1/32"), ("PIXERVE_LOG_FORMAT", "json")];
    Home::new(&ours.iter().chain(settings).copied().collect::<Vec<_>>())
}

async fn upload(client: &Client, url: &str, picture: Vec<u8>) -> reqwest::Response {
    let form = Form::new().part("file", Part::bytes(picture).file_name("a.jpg"));
    let request = client.post(url).bearer_auth(Claims::of("me").job(small_job()).sign()).multipart(form);
    request.header("x-forwarded-for", "203.0.113.9").send().await.expect("an answer")
}

/// Asks until the job of `status_url` has ended.
async fn ended(client: &Client, url: &str) -> Value {
    let started = Instant::now();
    loop {
        let status: Value = client.get(url).send().await.expect("an answer").json().await.expect("JSON");
        if !matches!(status["state"].as_str(), Some("pending" | "processing")) {
            return status;
        }
        assert!(started.elapsed() < WAIT_MAX, "{status}");
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readmes_nginx_passes_uploads_files_and_refusals_and_no_client_can_forge_its_address() {
    let home = home(&[("PIXERVE_SERVER_BODY_BYTES_MAX", "4 MiB")]);
    let _server = home.start().await;
    let Some(nginx) = Nginx::start(&configuration(), home.addr).await else { return };
    let client = client();
    let accepted = upload(&client, &nginx.url("/upload"), jpeg(120, 80, 1)).await;
    assert_eq!((accepted.status().as_u16(), accepted.version()), (200, Version::HTTP_2));
    assert_eq!(accepted.headers()["x-request-id"].len(), 32, "nginx's own id is kept");
    let accepted: Value = accepted.json().await.expect("JSON");
    let status = ended(&client, &nginx.url(accepted["status_url"].as_str().expect("a URL"))).await;
    let location = status["files"][0]["stored"][0]["location"].as_str().expect("a location");
    let file = client.get(nginx.url(location)).send().await.expect("an answer").bytes().await.expect("a file");
    assert_eq!(status["files"][0]["bytes"], file.len());
    // Refused in the middle of it, and seen all the same.
    let refused = upload(&client, &nginx.url("/upload"), vec![7; 24 << 20]).await;
    assert_problem(refused, 413, "too_large").await;
    // A line is written behind the answer that it tells of.
    let started = Instant::now();
    let lines = loop {
        let log = home.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["path"] == "/upload").collect();
        if lines.len() >= 2 {
            break lines;
        }
        assert!(started.elapsed() < WAIT_MAX, "{log}");
        poll_delay().await;
    };
    for line in lines {
        assert_eq!((&line["peer"], &line["client"]), (&"127.0.0.1".into(), &"127.0.0.2".into()), "{line}");
    }
}

/// Every address that the README's public proxy passes, with what they answer to a GET without parameters.
const PUBLIC: [(&str, u16); 11] = [
    ("/upload", 405),
    ("/status", 400),
    ("/events", 400),
    ("/cancel", 405),
    ("/limits", 200),
    ("/success", 400),
    ("/failures", 400),
    ("/files/nothing.jpg", 404),
    ("/image/nothing", 404),
    ("/private/nothing", 401),
    ("/manifest", 400),
];

#[tokio::test(flavor = "multi_thread")]
async fn readmes_public_nginx_passes_what_pages_and_apps_need_and_nothing_else() {
    let home = home(&[]);
    let _server = home.start().await;
    let (_, public) = include_str!("../../README.md").split_once("```nginx public.conf\n").expect("README has it");
    let (public, _) = public.split_once("```").expect("it ends");
    let configuration = replace(&configuration(), "    location / {", &format!("{public}    location / {{"));
    let Some(nginx) = Nginx::start(&configuration, home.addr).await else { return };
    let client = client();
    let get = async |path: &str| {
        let answer = client.get(nginx.url(path)).send().await.expect("an answer");
        // nginx has the id in no answer of its own.
        (answer.status().as_u16(), answer.headers().contains_key("x-request-id"))
    };
    for (path, status) in PUBLIC {
        assert_eq!(get(path).await, (status, true), "{path}");
    }
    let routes =
        ["/erase", "/register", "/register/webhook-secret", "/deliveries", "/deliveries/redeliver", "/success/list"];
    let more = [
        "/failures/list",
        "/metrics",
        "/health",
        "/health/live",
        "/version",
        "/",
        "/page/try.js",
        "/demo-token",
        "/openapi.json",
        "/docs",
    ];
    let tricks = ["/upload/", "/files", "//register", "/files/../register", "/status/../register", "/%72egister"];
    for path in routes.into_iter().chain(more).chain(tricks) {
        assert_eq!(get(path).await, (404, false), "{path}");
    }
    let accepted = upload(&client, &nginx.url("/upload"), jpeg(120, 80, 3)).await;
    let accepted: Value = accepted.json().await.expect("JSON");
    let id = accepted["job_id"].as_str().expect("an id");
    let events = client.get(nginx.url(&format!("/events?job_id={id}"))).send().await.expect("an answer");
    assert!(events.text().await.expect("a stream that ends").contains("event: end"), "it is passed as it comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn readmes_nginx_shows_it_under_a_path() {
    let home = home(&[("PIXERVE_SERVER_PUBLIC_URL", "https://example.com/images")]);
    let _server = home.start().await;
    let below = replace(&configuration(), "location / {", "location /images/ {");
    let below = replace(&below, "proxy_pass http://pixerve;", "proxy_pass http://pixerve/;");
    let Some(nginx) = Nginx::start(&below, home.addr).await else { return };
    let client = client();
    let accepted = upload(&client, &nginx.url("/images/upload"), jpeg(120, 80, 2)).await;
    let accepted: Value = accepted.json().await.expect("JSON");
    let status = ended(&client, &nginx.url(accepted["status_url"].as_str().expect("a URL"))).await;
    let location = status["files"][0]["stored"][0]["location"].as_str().expect("a location");
    assert_eq!(client.get(nginx.url(location)).send().await.expect("an answer").status(), 200, "{location}");
    assert_eq!(client.get(nginx.url("/status")).send().await.expect("an answer").status(), 404, "nothing but its path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_between_two_browsers_never_mixes_formats_up() {
    let home = home(&[]);
    let server = home.start().await;
    let cached = replace(
        &configuration(),
        "upstream pixerve {",
        "proxy_cache_path cache keys_zone=pictures:1m;\nupstream pixerve {",
    );
    let cached = replace(
        &cached,
        "    location / {",
        "    location / {\n proxy_cache pictures;\n add_header x-cache $upstream_cache_status;",
    );
    let Some(nginx) = Nginx::start(&cached, home.addr).await else { return };
    let formats = json!({ "avif": { "sizes": [[40]] }, "webp": { "sizes": [[40]] }, "jpg": { "sizes": [[40]] } });
    let job = json!({ "directHost": true, "formats": formats });
    let status = server.done("me", job, "a.jpg", jpeg(120, 80, 1)).await;
    let url = nginx.url(&format!("/image/{}", status["hash"].as_str().expect("a hash")));
    let client = client();
    let browsers = ["image/avif", "image/webp", "image/jpeg"];
    for round in ["MISS", "HIT", "HIT"] {
        for accept in browsers {
            let answer = client.get(&url).header("accept", accept).send().await.expect("an answer");
            assert_eq!(answer.headers()["content-type"], accept, "{round}");
            assert_eq!(answer.headers()["x-cache"], round, "{accept}");
        }
    }
}
