//! What is the served directory's alone: nothing gets out of it, and nothing half-written stays in it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use pixerve::clock::{Clock, System};
use pixerve::writer::{Body, DirectServe, Object, WriteErrorKind, WriterBackend};
use proptest::prelude::*;
use rustix::fs::{FileType, Mode};
use tempfile::TempDir;

use super::object;

/// A directory to serve, and one beside it that nothing may be written to.
struct ServeFixture {
    _both: TempDir,
    root: std::path::PathBuf,
    outside: std::path::PathBuf,
}

impl ServeFixture {
    fn new() -> Self {
        let both = tempfile::tempdir().expect("temporary directory");
        let (root, outside) = (both.path().join("serve"), both.path().join("outside"));
        fs::create_dir(&root).expect("made");
        fs::create_dir(&outside).expect("made");
        Self { _both: both, root, outside }
    }

    fn writer(&self) -> DirectServe {
        DirectServe::open(&self.root, "me").expect("opens")
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("listed");
    let mut names: Vec<_> = entries.map(|e| e.expect("entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn touch(path: &Path) {
    fs::File::create(path).expect("created");
}

#[tokio::test]
async fn a_symlinked_directory_is_not_followed() {
    let fixture = ServeFixture::new();
    fs::create_dir(fixture.root.join("real")).expect("made");
    symlink(&fixture.outside, fixture.root.join("link")).expect("linked");
    symlink(&fixture.outside, fixture.root.join("real/link")).expect("linked");
    symlink("real", fixture.root.join("inner")).expect("linked");
    symlink("../outside", fixture.root.join("relative")).expect("linked");
    let writer = fixture.writer();
    for sub_dir in ["link", "real/link", "link/deeper", "inner", "relative"] {
        let error = writer.put(&object(sub_dir, "a.jpg", "x")).await.expect_err("refused");
        assert!(!error.is_transient() && error.detail.contains("symbolic link"), "{error}");
    }
    assert_eq!(names(&fixture.outside), [""; 0]);
    assert_eq!(names(&fixture.root.join("real")), ["link"]);
}

#[tokio::test]
async fn deleting_and_reading_follow_no_link_out_of_the_root() {
    let fixture = ServeFixture::new();
    fs::create_dir(fixture.root.join("real")).expect("made");
    touch(&fixture.outside.join("a.jpg"));
    touch(&fixture.root.join("real/kept.jpg"));
    symlink(&fixture.outside, fixture.root.join("link")).expect("linked");
    symlink("real", fixture.root.join("inner")).expect("linked");
    symlink("../../outside/a.jpg", fixture.root.join("real/a.jpg")).expect("linked");
    let writer = fixture.writer();
    for location in ["/files/link/a.jpg", "/files/inner/kept.jpg"] {
        for error in
            [writer.delete(location).await.expect_err(location), writer.get(location, 1).await.expect_err(location)]
        {
            assert!(error.kind == WriteErrorKind::Refused && error.detail.contains("symbolic link"), "{error}");
        }
    }
    let location = "/files/real/a.jpg";
    assert_eq!(writer.get(location, 1).await.expect_err("a link").kind, WriteErrorKind::Refused);
    assert!(writer.delete(location).await.expect("the link itself").was_there);
    for climbing in ["/files/../outside/a.jpg", "/files/real/../../outside/a.jpg", "/files//a.jpg", "/files/real/.."] {
        let error = writer.delete(climbing).await.expect_err(climbing);
        assert_eq!(error.kind, WriteErrorKind::Invalid, "{climbing}");
    }
    assert_eq!(names(&fixture.outside), ["a.jpg"]);
    assert_eq!(names(&fixture.root.join("real")), ["kept.jpg"]);
}

#[tokio::test]
async fn what_is_no_file_is_neither_deleted_nor_waited_for() {
    let fixture = ServeFixture::new();
    let writer = fixture.writer();
    fs::create_dir(fixture.root.join("dir.jpg")).expect("made");
    rustix::fs::mknodat(rustix::fs::CWD, fixture.root.join("pipe.jpg"), FileType::Fifo, Mode::RWXU, 0).expect("made");
    for location in ["/files/dir.jpg", "/files/pipe.jpg"] {
        assert_eq!(writer.get(location, 1).await.expect_err(location).kind, WriteErrorKind::Refused, "{location}");
    }
    let error = writer.delete("/files/dir.jpg").await.expect_err("a directory");
    assert_eq!(error.kind, WriteErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn of_a_root_that_is_gone_nothing_counts_as_deleted() {
    let fixture = ServeFixture::new();
    let writer = fixture.writer();
    fs::remove_dir(&fixture.root).expect("removed");
    assert!(writer.delete("/files/a.jpg").await.expect_err("it may come back").is_transient());
    assert!(writer.get("/files/a.jpg", 1).await.expect_err("it may come back").is_transient());
}

#[tokio::test]
async fn a_link_of_the_files_own_name_is_replaced_not_followed() {
    let fixture = ServeFixture::new();
    let target = fixture.outside.join("target");
    touch(&target);
    symlink(&target, fixture.root.join("a.jpg")).expect("linked");
    fixture.writer().put(&object("", "a.jpg", "x")).await.expect("stored");
    assert_eq!(fs::read(&target).expect("read"), b"");
    assert!(fs::symlink_metadata(fixture.root.join("a.jpg")).expect("there").is_file());
}

#[tokio::test]
async fn a_directory_swapped_for_a_link_while_writing_lets_nothing_out() {
    let fixture = ServeFixture::new();
    let writer = fixture.writer();
    let (dir, aside) = (fixture.root.join("a"), fixture.root.join("aside"));
    fs::create_dir(&dir).expect("made");
    let (done, outside) = (Arc::new(AtomicBool::new(false)), fixture.outside.clone());
    let swapper = std::thread::spawn({
        let done = done.clone();
        move || {
            let mut swaps = 0;
            while !done.load(Ordering::Relaxed) {
                // Any step may lose against the writer, which makes the directory anew when it is gone.
                let _ = fs::rename(&dir, &aside);
                let _ = symlink(&outside, &dir);
                let _ = fs::remove_file(&dir);
                let _ = fs::remove_dir_all(&dir);
                let _ = fs::rename(&aside, &dir);
                swaps += 1;
            }
            swaps
        }
    });
    let mut stored = 0;
    for n in 0..300 {
        stored += usize::from(writer.put(&object("a", &format!("{n}.jpg"), "x")).await.is_ok());
    }
    done.store(true, Ordering::Relaxed);
    let swaps = swapper.join().expect("no panic");
    assert_eq!(names(&fixture.outside), [""; 0], "{stored} stored, {swaps} swaps");
}

#[tokio::test]
async fn what_stands_in_the_way_is_final() {
    let fixture = ServeFixture::new();
    touch(&fixture.root.join("file"));
    fs::create_dir(fixture.root.join("dir.jpg")).expect("made");
    let writer = fixture.writer();
    for (sub_dir, name) in [("file", "a.jpg"), ("", "dir.jpg")] {
        let error = writer.put(&object(sub_dir, name, "x")).await.expect_err("refused");
        assert!(!error.is_transient(), "{error}");
    }
    assert_eq!(names(&fixture.root), ["dir.jpg", "file"], "and nothing half-written stays");
}

#[test]
fn what_a_crash_left_half_written_is_swept_and_nothing_else() {
    let fixture = ServeFixture::new();
    fs::create_dir_all(fixture.root.join("a/b/c/d")).expect("made");
    symlink(&fixture.outside, fixture.root.join("link")).expect("linked");
    let (temporary, young) = (".0123.pixerve-tmp", ".4567.pixerve-tmp");
    for dir in ["", "a", "a/b/c/d"] {
        let left = fixture.root.join(dir).join(temporary);
        touch(&left);
        let hour_ago = System::new().now().before(Duration::from_secs(3601)).date_time();
        let opened = fs::File::options().write(true).open(&left).expect("there");
        opened.set_modified(hour_ago.into()).expect("aged");
        touch(&fixture.root.join(dir).join(young));
        touch(&fixture.root.join(dir).join("kept.jpg"));
    }
    touch(&fixture.root.join(".keep"));
    touch(&fixture.outside.join(temporary));
    fixture.writer();
    assert_eq!(names(&fixture.root), [young, ".keep", "a", "kept.jpg", "link"], "a young one may be another server's");
    assert_eq!(names(&fixture.root.join("a")), [young, "b", "kept.jpg"]);
    assert_eq!(names(&fixture.root.join("a/b/c/d")), [young, "kept.jpg"]);
    assert_eq!(names(&fixture.outside), [temporary]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_file_that_somebody_removes_is_written_again() {
    let fixture = ServeFixture::new();
    // Read from a pipe, a file is half-written for as long as the test likes.
    let pipe = fixture.outside.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let object = Object { body: Body::File { path: pipe.clone(), bytes: 1 }, ..object("", "a.jpg", "x") };
    let (writer, root) = (fixture.writer(), fixture.root.clone());
    let put = tokio::spawn(async move { writer.put(&object).await });
    let sweeper = tokio::task::spawn_blocking(move || {
        let mut body = fs::File::options().write(true).open(&pipe).expect("it is read");
        let half_written = loop {
            if let [name] = names(&root).as_slice() {
                break name.clone();
            }
        };
        fs::remove_file(root.join(half_written)).expect("removed");
        // What the second try reads.
        let whole = pipe.with_extension("whole");
        fs::File::create(&whole).and_then(|mut file| file.write_all(b"x")).expect("written");
        fs::rename(&whole, &pipe).expect("moved");
        body.write_all(b"x").expect("read");
    });
    put.await.expect("no panic").expect("stored");
    sweeper.await.expect("no panic");
    assert_eq!(names(&fixture.root), ["a.jpg"]);
    assert_eq!(fs::read(fixture.root.join("a.jpg")).expect("read"), b"x");
}

#[tokio::test]
async fn a_root_that_was_lost_is_written_to_again_once_it_is_back() {
    let fixture = ServeFixture::new();
    let writer = fixture.writer();
    let away = fixture.root.with_extension("away");
    fs::rename(&fixture.root, &away).expect("moved");
    let error = writer.put(&object("sub", "a.jpg", "x")).await.expect_err("it is gone");
    assert!(error.is_transient(), "{error}");
    assert!(!fixture.root.exists(), "nothing is made in the place of what may be a mount");
    fs::create_dir(&fixture.root).expect("made");
    writer.put(&object("sub", "a.jpg", "x")).await.expect("stored");
    assert_eq!(names(&fixture.root.join("sub")), ["a.jpg"]);
}

#[test]
fn a_missing_root_is_made() {
    let fixture = ServeFixture::new();
    let root = fixture.root.join("not/yet/there");
    DirectServe::open(&root, "me").expect("opens");
    assert!(root.is_dir());
    touch(&fixture.root.join("file"));
    assert!(DirectServe::open(&fixture.root.join("file"), "me").is_err());
}

/// Names that try to get out, and names at random.
fn hostile_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "(\\.\\./|/|\\./|[a-z]/){0,4}[a-z.]{0,8}",
        "[\\./\\\\\u{0}a-z%]{0,12}",
        any::<String>(),
        "[a-zA-Z0-9._-]{1,300}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_name_writes_outside_its_directory(name in hostile_name()) {
        let fixture = ServeFixture::new();
        let writer = fixture.writer();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let result = runtime.block_on(writer.put(&object("sub", &name, "x")));
        let above = names(fixture.root.parent().expect("a parent"));
        prop_assert_eq!(above, ["outside", "serve"]);
        prop_assert_eq!(names(&fixture.outside), [""; 0]);
        match result {
            Ok(stored) => {
                prop_assert_eq!(names(&fixture.root.join("sub")), [name.as_str()]);
                prop_assert_eq!(stored.location, format!("/files/sub/{name}"));
            }
            Err(error) => {
                prop_assert!(!error.is_transient());
                prop_assert_eq!(names(&fixture.root), [""; 0]);
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_name_of_ours_is_counted_and_links_are_not_followed() {
    let fixture = ServeFixture::new();
    let writer = fixture.writer();
    fs::create_dir_all(fixture.root.join("tour/.git")).expect("made");
    touch(&fixture.root.join("tour/a.jpg"));
    touch(&fixture.root.join("tour/.git/b.jpg"));
    touch(&fixture.root.join(".hidden.jpg"));
    touch(&fixture.root.join("a name.jpg"));
    touch(&fixture.outside.join("c.jpg"));
    symlink(&fixture.outside, fixture.root.join("link")).expect("linked");
    symlink(fixture.outside.join("c.jpg"), fixture.root.join("c.jpg")).expect("linked");
    let mut parts = writer.list().await.expect("a list");
    let (mut locations, mut foreign) = (Vec::new(), 0);
    while let Some(part) = parts.next().await {
        let part = part.expect("a part");
        foreign += part.foreign;
        locations.extend(part.files.into_iter().map(|file| file.location));
    }
    assert_eq!((locations, foreign), (vec!["/files/tour/a.jpg".to_owned()], 5));
    assert_eq!(writer.look("/files/c.jpg").await.expect("looked"), None, "a link is no file of ours");
}
