//! Names and paths that lead out of where files belong.
//!
//! Proved elsewhere: 110 paths behind `/files/`, symlinks, devices and pipes there (`crate::files::hostile`); the
//! writer's directory with links in its way, swapped while it writes, and random names (`crate::writer::direct_serve`);
//! what a `subDir` and a stem may be (`pixerve::job`, unit tests). Here: a whole server, and everything around its
//! directories looked at before and after.

mod names;
mod swapped;

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::figure;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay, small_job};
use crate::harness::picture::{jpeg, png};
use crate::harness::process::{Home, ServerProcess};
use crate::harness::stores;
use crate::harness::token::Claims;

/// Everything below `dir` but for `except`: its kind, size and when it was written.
fn tree(dir: &Path, except: &[&Path]) -> BTreeMap<String, String> {
    fn walk(dir: &Path, except: &[&Path], found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).expect("listed").flatten() {
            let path = entry.path();
            if except.contains(&path.as_path()) {
                continue;
            }
            let about = std::fs::symlink_metadata(&path).expect("there");
            let modified = about.modified().expect("known");
            found.insert(path.display().to_string(), format!("{:?} {} {modified:?}", about.file_type(), about.len()));
            if about.is_dir() {
                walk(&path, except, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, except, &mut found);
    found
}

/// A server whose directories lie three levels below the home's, with things beside them that nobody may touch.
struct Site {
    home: Home,
    server: ServerProcess,
    before: BTreeMap<String, String>,
}

impl Site {
    async fn new() -> Self {
        let home = Home::new(&[
            ("PIXERVE_DATA_DIR", "a/b/c/data"),
            ("PIXERVE_SERVE_DIR", "a/b/c/serve"),
            ("PIXERVE_SERVER_RATE_PER_USER", "0"),
        ]);
        for beside in ["outside", "a/outside", "a/b/c/outside"] {
            std::fs::create_dir_all(home.root().join(beside)).expect("made");
            std::fs::File::create(home.root().join(beside).join("secret.png")).expect("made");
        }
        let server = home.start().await;
        let mut site = Self { home, server, before: BTreeMap::new() };
        site.before = site.around();
        site
    }

    fn serve_dir(&self) -> std::path::PathBuf {
        self.home.root().join("a/b/c/serve")
    }

    fn spool(&self) -> std::path::PathBuf {
        self.home.root().join("a/b/c/data/spool")
    }

    /// Everything around the server's own directories and logs.
    fn around(&self) -> BTreeMap<String, String> {
        let root = self.home.root();
        let own = ["a/b/c/data", "a/b/c/serve", "private", "pixerve.log", "terminal"].map(|name| root.join(name));
        tree(root, &own.each_ref().map(std::path::PathBuf::as_path))
    }

    async fn assert_untouched(&self) {
        assert_eq!(self.around(), self.before);
        for file in files_below(&self.serve_dir()) {
            let plain = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+=,~-".contains(&b));
            assert!(file.split('/').all(|part| plain(part) && !part.starts_with('.')), "{file}");
        }
        // An ended job leaves the spool soon.
        while !files_below(&self.spool()).iter().all(|file| file.starts_with("kept/")) {
            poll_delay().await;
        }
    }

    fn hostile(&self) -> Vec<String> {
        names::hostile(&self.home.root().join("outside"))
    }
}

/// Sends these bytes on a connection of their own: the status of the answer, and all of it; 0 for none.
async fn raw(site: &Site, request: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(site.home.addr).await.expect("a connection");
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    let status = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok()).unwrap_or(0);
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_a_file_subject_or_directory_leads_out() {
    let site = Site::new().await;
    let names = site.hostile();
    assert!(names.len() >= 200, "{} names", names.len());
    let (site_ref, picture) = (&site, png(8, 8, 1));
    let ends: Vec<(bool, bool)> = stream::iter(names.iter().enumerate())
        .map(|(i, name)| {
            let picture = picture.clone();
            async move {
                // As the file's name and the subject; control characters are no subject, and end the request's part.
                let is_subject = name.len() <= 256 && !name.chars().any(char::is_control);
                let sub = if is_subject { name.clone() } else { format!("subject-{i}") };
                let job = json!({ "directHost": true, "keepOriginal": true, "subDir": "ok" });
                let token = Claims::of(&sub).job(job).sign();
                let body = [
                    b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"".as_slice(),
                    name.as_bytes(),
                    b"\"\r\n\r\n",
                    &picture,
                    b"\r\n--x--\r\n",
                ]
                .concat();
                let request = site_ref.server.request(Method::POST, "/upload").bearer_auth(token);
                let request = request.header("content-type", "multipart/form-data; boundary=x").body(body);
                let response = request.send().await.expect("an answer");
                let status = response.status();
                let body: Value = response.json().await.expect("JSON");
                let is_taken = status.is_success();
                if is_taken {
                    let done = site_ref.server.ended(&body).await;
                    assert_eq!(done["state"], "completed", "{name:?}: {done}");
                    let location = done["files"][0]["stored"][0]["location"].as_str().expect("a location");
                    assert_eq!(site_ref.server.file(location).await, picture, "{name:?}");
                } else {
                    assert_eq!(status.as_u16(), 400, "{name:?}: {body}");
                }
                // As the directory: plain ones are.
                let job = json!({ "directHost": true, "keepOriginal": true, "subDir": name });
                let token = Claims::of(&format!("directory-{i}")).job(job).sign();
                let response = site_ref.server.upload(&token, "a.png", picture.clone()).await;
                let status = response.status();
                let body: Value = response.json().await.expect("JSON");
                if status.is_success() {
                    assert_eq!(site_ref.server.ended(&body).await["state"], "completed", "{name:?}");
                } else if name.len() > 3000 {
                    assert!([401, 431, 422].contains(&status.as_u16()), "{name:?}: {body}");
                } else {
                    assert_eq!(
                        (status.as_u16(), &body["errors"][0]["pointer"]),
                        (422, &json!("/job/subDir")),
                        "{name:?}"
                    );
                }
                (is_taken, status.is_success())
            }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    site.assert_untouched().await;
    let taken = ends.iter().filter(|(file, _)| *file).count();
    let directories = ends.iter().filter(|(_, directory)| *directory).count();
    assert!(taken > 150, "{taken} were taken as file names");
    assert!(directories < 20, "{directories} were taken as directories");
    figure(
        "traversal",
        format!(
            "{} names as filename, sub and subDir: {taken} harmless as files, {directories} plain directories, 0 bytes outside",
            names.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hash_and_no_path_leads_out() {
    let site = Site::new().await;
    let done = site.server.done("me", small_job(), "a.jpg", jpeg(16, 16, 1)).await;
    let stored = done["files"][0]["stored"][0]["location"].as_str().expect("a location").to_owned();
    let secret = b"PRIVATE-4471";
    for (name, at) in [("a/b/c/outside/secret.png", 0), ("outside/secret.png", 1)] {
        use std::io::Write;
        let mut file = std::fs::File::create(site.home.root().join(name)).expect("made");
        file.write_all(&secret.repeat(at + 1)).expect("written");
    }
    let before = site.around();
    let token = Claims::of("me").admin().sign();
    let mut names = site.hostile();
    names
        .extend(["../outside/secret.png", "..%2foutside%2fsecret.png", "%2e%2e/outside/secret.png"].map(str::to_owned));
    let mut asked = 0;
    for name in &names {
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
        for (method, route) in [
            ("GET", "/status?hash="),
            ("GET", "/status?job_id="),
            ("GET", "/success?hash="),
            ("GET", "/failures?hash="),
            ("DELETE", "/cancel?hash="),
            ("DELETE", "/cancel?job_id="),
            ("PUT", "/register?access_key="),
            ("DELETE", "/register?access_key="),
            ("POST", "/reprocess?hash="),
            ("POST", "/reprocess?job_id="),
            ("GET", "/success/list?cursor="),
            ("GET", "/files/"),
            ("HEAD", "/files/"),
            ("GET", "/private/"),
            ("GET", "/image/"),
        ] {
            // Encoded once; and as it is, where that makes a request at all.
            for target in [format!("{route}{encoded}"), format!("{route}{name}")] {
                let request = format!(
                    "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
                );
                let (status, answer) = raw(&site, request.as_bytes()).await;
                let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(&answer[..], |at| &answer[at..]);
                // Nothing, where a line break ended the request early and rubbish followed.
                let known = target.starts_with("/success?") || target.starts_with("/failures?");
                let fine = matches!(status, 0 | 400 | 404 | 414 | 431) || known && status == 200;
                assert!(fine, "{method} {target:?}: {}", String::from_utf8_lossy(&answer));
                assert!(!answer.windows(secret.len()).any(|w| w == secret), "{method} {target:?}");
                assert!(!answer.windows(5).any(|w| w == b"root:"), "{method} {target:?}");
                let head = String::from_utf8_lossy(&answer[..answer.len() - body.len()]).to_ascii_lowercase();
                assert!(!head.contains("x-injected"), "{method} {target:?}: {head}");
                asked += 1;
            }
        }
    }
    assert_eq!(site.around(), before);
    assert_eq!(site.server.get(&stored).await.status(), 200, "what is stored is still served");
    let lists = site.server.admin(Method::GET, "/success/list", None).await;
    assert_eq!(lists.status(), 200);
    figure(
        "traversal",
        format!("{} names as hash, job_id, access_key, cursor and path: {asked} requests, 0 led out", names.len()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_of_an_object_leaves_its_prefix() {
    let site = Site::new().await;
    let s3 = stores::s3().await;
    s3.create_bucket("pictures");
    let mut registration = s3.registration("pictures");
    registration["prefix"] = json!("tenants/one");
    let access_key = site.server.register(registration.clone()).await;
    let names = site.hostile();
    let mut expected = Vec::new();
    // Every fifth: each is an upload and an object. The server of these tests can't store keys of more than some 150
    // bytes, so long names are left out here.
    let short = names.iter().filter(|name| name.len() < 50 && !name.chars().any(char::is_control));
    for (i, name) in short.enumerate().step_by(5) {
        let job = json!({ "storageKeys": { "s3": access_key }, "keepOriginal": true, "subDir": "deep/er" });
        let done = site.server.done("me", job, name, png(8, 8, u32::try_from(i).expect("few"))).await;
        assert_eq!(done["state"], "completed", "{name:?}: {done}");
        expected.push(format!("tenants/one/deep/er/{}", done["files"][0]["name"].as_str().expect("a name")));
    }
    expected.sort();
    assert!(expected.len() > 20);
    assert_eq!(s3.keys("pictures").await, expected);
    // Nor may a prefix climb; the operator may have mistyped it.
    let mut refused = 0;
    for prefix in ["..", "../other", "a/../b", "a//b", "a/\0", "./a", "a\\b"] {
        registration["prefix"] = json!(prefix);
        let response = site.server.admin(Method::POST, "/register", Some(registration.clone())).await;
        refused += usize::from(response.status().as_u16() == 422);
        assert!(response.status().is_client_error(), "{prefix:?}: {}", response.status());
    }
    site.assert_untouched().await;
    figure(
        "traversal",
        format!(
            "{} hostile names as object keys: all below their prefix; {refused} bad prefixes refused",
            expected.len()
        ),
    );
}
