//! Tells the program what it was built from: the commit, the time, the compiler. Never fails a build over it.
#![expect(clippy::disallowed_methods, reason = "a build script has no clock and no settings but its environment")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const UNKNOWN: &str = "unknown";

fn main() {
    // What changes the program changes its time of build; nothing else, so that tests alone rebuild nothing.
    for path in ["build.rs", "src", "config", "Cargo.toml", "Cargo.lock"] {
        watch(Path::new(path));
    }
    set("PIXERVE_BUILD_COMMIT", &commit());
    set("PIXERVE_BUILD_TIME", &build_time());
    set("PIXERVE_BUILD_RUSTC", &rustc_version());
}

fn set(name: &str, value: &str) {
    println!("cargo::rustc-env={name}={value}");
}

/// A path that does not exist would make cargo build anew every time.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// `GIT_COMMIT` for builds without a repository, such as in a container; else what the repository says.
fn commit() -> String {
    println!("cargo::rerun-if-env-changed=GIT_COMMIT");
    let given = env::var("GIT_COMMIT").ok().filter(|commit| is_commit(commit));
    given.or_else(commit_of_repository).unwrap_or_else(|| UNKNOWN.to_owned())
}

/// Read from the repository's own files: works without git, and never looks into a repository further up.
fn commit_of_repository() -> Option<String> {
    let git_dir = git_dir()?;
    let head_file = git_dir.join("HEAD");
    watch(&head_file);
    let head = fs::read_to_string(head_file).ok()?;
    let Some(reference) = head.trim().strip_prefix("ref: ") else {
        return Some(head.trim().to_owned()).filter(|commit| is_commit(commit));
    };
    // A worktree has a HEAD of its own and shares the rest.
    let shared =
        fs::read_to_string(git_dir.join("commondir")).map_or_else(|_| git_dir.clone(), |dir| git_dir.join(dir.trim()));
    let loose = shared.join(reference);
    if let Ok(commit) = fs::read_to_string(&loose) {
        watch(&loose);
        return Some(commit.trim().to_owned()).filter(|commit| is_commit(commit));
    }
    // Packed: the next commit makes the reference a file of its own.
    let packed = shared.join("packed-refs");
    watch(&packed);
    watch(&shared.join("refs/heads"));
    let packed = fs::read_to_string(packed).ok()?;
    let line = packed.lines().find(|line| line.split(' ').nth(1) == Some(reference))?;
    line.split(' ').next().filter(|commit| is_commit(commit)).map(ToOwned::to_owned)
}

/// `.git` is a directory, or in a worktree a file that says where the directory is.
fn git_dir() -> Option<PathBuf> {
    let git = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    Some(git.parent()?.join(text.trim().strip_prefix("gitdir: ")?))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// RFC 3339 in UTC; `SOURCE_DATE_EPOCH` makes builds reproducible.
fn build_time() -> String {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<i64>().ok());
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs()).ok();
    given
        .or_else(now)
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

/// `1.95.0` of `rustc 1.95.0 (hash date)`.
fn rustc_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    text.split(' ').nth(1).unwrap_or(UNKNOWN).trim().to_owned()
}
