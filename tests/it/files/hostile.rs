//! Paths that lead nowhere: out of the tree, through symlinks, to what isn't a stored file.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use http::{StatusCode, Uri};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

#[cfg(all(feature = "s3", feature = "gcs"))]
use super::bucket::ServedBucket;
#[cfg(all(feature = "s3", feature = "gcs"))]
use super::{FileSource, Stored, files};
use super::{Site, directory_router, put_into, write};

/// Behind `/files/`. The site has `secret.png` beside its root, and inside of it `ok.png`, `dir/ok.png`, `.hidden.png`
/// and `.git/ok.png`.
const HOSTILE: [&str; 110] = [
    // Out of the tree, plain.
    "../secret.png",
    "../../secret.png",
    "../../../../../../../../etc/passwd",
    "dir/../../secret.png",
    "dir/..",
    "dir/../ok.png",
    "dir/./ok.png",
    "./ok.png",
    "..",
    ".",
    "...",
    ".../ok.png",
    "..;/ok.png",
    "dir/..;/..;/secret.png",
    // Encoded dots.
    "%2e%2e/secret.png",
    "%2E%2E/secret.png",
    ".%2e/secret.png",
    "%2e./secret.png",
    "%2e%2e",
    "%2e",
    "%2e/ok.png",
    "dir/%2e%2e/ok.png",
    "dir/%2e%2e/%2e%2e/secret.png",
    // Encoded slashes.
    "..%2fsecret.png",
    "..%2Fsecret.png",
    "%2e%2e%2fsecret.png",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "dir%2fok.png",
    "dir%2Fok.png",
    "%2fetc%2fpasswd",
    "dir/%2fok.png",
    "%2fok.png",
    "ok.png%2f",
    // Backslashes.
    "..\\secret.png",
    "dir\\ok.png",
    "..%5csecret.png",
    "..%5Csecret.png",
    "%5c..%5csecret.png",
    "%2e%2e%5csecret.png",
    "dir%5cok.png",
    "C:%5cwindows%5cwin.ini",
    // Encoded twice, thrice.
    "%252e%252e/secret.png",
    "%252e%252e%252fsecret.png",
    "..%252fsecret.png",
    "..%255csecret.png",
    "%25252e%25252e/secret.png",
    "dir%252fok.png",
    "ok%252epng",
    "%2525",
    // Overlong and other-than-ASCII spellings of the same.
    "%c0%ae%c0%ae/secret.png",
    "%c0%af..%c0%afsecret.png",
    "..%c0%afsecret.png",
    "..%c1%9csecret.png",
    "%e0%80%ae%e0%80%ae/secret.png",
    "%f0%80%80%ae/secret.png",
    "%uff0e%uff0e/secret.png",
    "%u002e%u002e/secret.png",
    "%ef%bc%8e%ef%bc%8e/secret.png",
    "..%ef%bc%8fsecret.png",
    "%e2%80%a5/secret.png",
    "%e2%80%ae.png",
    "ok%ef%bb%bf.png",
    // NUL and control characters.
    "ok.png%00",
    "%00",
    "ok.png%00.jpg",
    "..%00/secret.png",
    "%00/ok.png",
    "dir%00/ok.png",
    "ok.png%0a",
    "ok.png%0d%0ax-injected:%201",
    "%0aok.png",
    "ok.png%09",
    "ok.png%7f",
    "ok%1b.png",
    // Broken encodings.
    "%",
    "%2",
    "ok.png%",
    "ok.png%2",
    "%zz",
    "%ff%fe",
    "%80ok.png",
    // Empty segments and trailing slashes.
    "/ok.png",
    "//ok.png",
    "dir//ok.png",
    "//etc/passwd",
    "ok.png/",
    "dir/ok.png/",
    "dir/ok.png/x",
    // Directories.
    "dir",
    "dir/",
    "dir/sub",
    // Dot files.
    ".hidden.png",
    "%2ehidden.png",
    ".git/ok.png",
    ".git/config",
    "dir/.hidden.png",
    // Characters that names don't have.
    "ok.png%20",
    "%20ok.png",
    "ok+.png",
    "*",
    "ok.png:Zone.Identifier",
    "~root/ok.png",
    "$HOME",
    "%7e/ok.png",
    "ok.png%3fx",
    "ok.png%23x",
    "file:%2f%2f%2fetc%2fpasswd",
    // Too deep, and not there.
    "a/b/c/d/e/f/g/h/i/ok.png",
    "none.png",
    "none/ok.png",
];

/// What that site has inside.
const STORED: [&str; 8] = [
    "ok.png",
    "dir/ok.png",
    "dir/.hidden.png",
    "dir/sub/ok.png",
    ".hidden.png",
    ".git/ok.png",
    ".git/config",
    "a/b/c/d/e/f/g/h/i/ok.png",
];

/// Its root is a level below the temporary directory, so that there is something to climb to.
fn site() -> Site {
    let mut site = Site::directory();
    put_into(site.dir(), "secret.png", b"SECRET");
    for path in STORED {
        put_into(site.dir(), &format!("serve/{path}"), b"stored");
    }
    site.router = directory_router(&site.dir().join("serve"));
    site
}

/// Asks for all that leads nowhere, but for what is named.
async fn assert_nothing_is_found(site: &Site, but_for: &[&str]) {
    assert_eq!(&site.get("/files/dir/ok.png", &[]).await.body[..], b"stored", "the site works");
    let mut asked = 0;
    for path in HOSTILE.into_iter().filter(|path| !but_for.contains(path)) {
        let uri = format!("/files/{path}");
        // What the HTTP layer itself refuses never gets here.
        if uri.parse::<Uri>().is_err() {
            continue;
        }
        asked += 1;
        let answer = site.get(&uri, &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{uri}");
        assert!(!answer.headers.contains_key("x-injected") && !answer.headers.contains_key("etag"), "{uri}");
    }
    assert!(asked >= 100 - but_for.len(), "{asked} paths got through");
}

#[tokio::test]
async fn a_path_to_anything_but_a_stored_file_is_not_found() {
    assert_nothing_is_found(&site(), &[]).await;
}

#[cfg(all(feature = "s3", feature = "gcs"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_to_anything_but_a_stored_file_is_not_found_in_a_bucket() {
    let bucket = ServedBucket::start().await;
    bucket.put_raw("secret.png", b"SECRET").await;
    for path in STORED {
        bucket.put_raw(&format!("serve/{path}"), b"stored").await;
    }
    let router = files::router(FileSource::bucket(bucket.node()));
    // The test's server has directories, as S3 has not.
    assert_nothing_is_found(&Site { stored: Stored::Bucket(bucket), router }, &["dir", "dir/sub"]).await;
}

#[tokio::test]
async fn too_long_a_name_is_not_found_and_the_longest_is() {
    let site = Site::directory();
    let longest = format!("{}.png", "x".repeat(251));
    // Stored directly: there is no room for a longer name beside it.
    write(&site.dir().join(&longest), b"stored");
    assert_eq!(site.get(&format!("/files/{longest}"), &[]).await.status, StatusCode::OK);
    for name in [format!("x{longest}"), "x".repeat(5_000), format!("{}/ok.png", "x".repeat(65))] {
        assert_eq!(site.get(&format!("/files/{name}"), &[]).await.status, StatusCode::NOT_FOUND);
    }
}

every_source!(a_missing_file_is_a_problem_with_a_code);

async fn a_missing_file_is_a_problem_with_a_code(site: Site) {
    let answer = site.get("/files/tenant/none.png", &[]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"), "it may be there a moment later");
    let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(problem["code"], "not_found");
    assert_eq!(problem["status"], 404);
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{member}");
    }
}

#[tokio::test]
async fn no_symlink_is_followed() {
    let site = site();
    let serve = site.dir().join("serve");
    let links = [
        ("../secret.png", "file.png"),
        ("ok.png", "inside.png"),
        ("..", "up"),
        ("dir", "aside"),
        ("/", "slash"),
        ("../../dir", "dir/again"),
        ("loop", "loop"),
        ("nowhere", "dangling.png"),
    ];
    for (target, link) in links {
        symlink(target, serve.join(link)).expect("a symlink");
    }
    for path in [
        "file.png",
        "inside.png",
        "up/secret.png",
        "up/serve/ok.png",
        "aside/ok.png",
        "aside/sub/ok.png",
        "slash/etc/hosts",
        "dir/again/ok.png",
        "loop/ok.png",
        "loop",
        "dangling.png",
    ] {
        assert_eq!(site.get(&format!("/files/{path}"), &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_directory_swapped_for_a_symlink_is_not_followed() {
    let site = site();
    let serve = site.dir().join("serve");
    put_into(site.dir(), "outside/ok.png", b"SECRET");
    assert_eq!(site.get("/files/dir/ok.png", &[]).await.status, StatusCode::OK);
    fs::rename(serve.join("dir"), site.dir().join("was")).expect("renaming");
    symlink("../outside", serve.join("dir")).expect("a symlink");
    assert_eq!(site.get("/files/dir/ok.png", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_found_and_nobody_waits_for_it() {
    let site = Site::directory();
    let pipe = site.dir().join("pipe.png");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let _socket = UnixListener::bind(site.dir().join("socket.png")).expect("a socket");
    fs::create_dir(site.dir().join("dir.png")).expect("a directory");
    for path in ["pipe.png", "socket.png", "dir.png"] {
        assert_eq!(site.get(&format!("/files/{path}"), &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}
