//! What a server keeps is its own, whatever the umask; what it serves is everybody's.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::app::small_job;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::token::Claims;

/// Everything below `dir`, with its permissions.
fn modes(dir: &Path) -> Vec<(String, bool, u32)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            found.push((entry.path().display().to_string(), metadata.is_dir(), metadata.permissions().mode() & 0o7777));
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_private_and_files_are_served_whatever_the_umask() {
    for umask in ["000", "027", "077"] {
        let home = Home::new(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\"")]);
        let mut server = home.spawn_by(shell, &[]);
        home.answers(&mut server).await;
        let mut job = small_job();
        job["subDir"] = json!("tenant/album");
        let status = server.done("me", job, "a.jpg", jpeg(20, 20, 1)).await;
        assert_eq!(status["state"], "completed", "{status}");
        // One that stays in the spool for a while.
        let slow =
            json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[900]] } } });
        server.upload(&Claims::of("me").job(slow).sign(), "b.jpg", jpeg(900, 900, 2)).await;
        let private = modes(&home.data_dir());
        server.terminate();
        server.exited().await;
        assert_eq!(mode(&home.data_dir()), 0o700);
        assert!(private.len() > 10, "{private:?}");
        for (path, is_dir, mode) in private.into_iter().chain(modes(&home.data_dir())) {
            assert_eq!(mode, if is_dir { 0o700 } else { 0o600 }, "{umask}: {path}");
        }
        assert_eq!(mode(&home.serve_dir()), 0o755);
        for (path, is_dir, mode) in modes(&home.serve_dir()) {
            assert_eq!(mode, if is_dir { 0o755 } else { 0o644 }, "{umask}: {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_server_left_open_is_closed_at_start_and_open_keys_are_told() {
    let home = Home::new(&[("PIXERVE_JWT_SECRET", ""), ("PIXERVE_JWT_FILE", "jwt.json")]);
    let mut server = home.start().await;
    server.terminate();
    server.exited().await;
    for path in [home.data_dir(), home.data_dir().join("ConvertQueue.db"), home.root().join("jwt.json")] {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    }
    let mut server = home.start().await;
    server.terminate();
    server.exited().await;
    assert_eq!([mode(&home.data_dir()), mode(&home.data_dir().join("ConvertQueue.db"))], [0o700; 2]);
    assert!(home.log().contains("others than their owner may read the signing keys"), "{}", home.log());
}
