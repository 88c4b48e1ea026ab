//! `pixerve upload`, `show` and `cancel` against a server.

use serde_json::{Value, json};

use super::{Ran, put, put_job, run, run_with};
use crate::harness::app::files_below;
use crate::harness::picture::{jpeg, png};
use crate::harness::process::Home;
use crate::harness::token::Claims;

fn by_file(ran: &Ran, file: &str) -> Value {
    let objects = ran.objects();
    objects.into_iter().find(|object| object["file"] == file).unwrap_or_else(|| panic!("no {file} in {ran:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_uploaded_and_waited_for_and_what_is_no_picture_is_told() {
    let home = Home::new(&[]);
    let _server = home.start().await;
    put_job(&home);
    for number in 0..6 {
        put(&home, &format!("photos/{number}.jpg"), &jpeg(64, 48, number));
    }
    put(&home, "photos/notes.txt", b"no picture");
    let ran = run(&home, &["upload", "--job", "job.json", "--sub", "me", "--wait", "--json", "photos"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.objects().len(), 7);
    assert_eq!(by_file(&ran, "photos/notes.txt")["omitted"], "no picture");
    for number in 0..6 {
        let object = by_file(&ran, &format!("photos/{number}.jpg"));
        assert_eq!(object["status"]["state"], "completed", "{object}");
        assert_eq!(object["status"]["files"][0]["name"], object["expected_files"][0]);
        let hash = object["hash"].as_str().expect("a hash");
        assert!(hash.ends_with("_me"), "{hash}");
    }
    assert_eq!(files_below(&home.serve_dir()).len(), 6);
    let ran = run(&home, &["upload", "--job", "job.json", "--wait", "photos"]).await;
    assert_eq!((ran.code, ran.stdout.matches("completed").count()), (Some(0), 6), "{ran:#?}");
    assert!(ran.stdout.contains("  /files/cli/"), "{ran:#?}");
    assert!(ran.stderr.contains("photos/notes.txt: no picture, not sent"), "{ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_what_failed() {
    let home = Home::new(&[]);
    let token = Claims::of("me").job(json!({ "directHost": true, "keepOriginal": true, "maxBytes": 100_000 })).sign();
    put(&home, "good.jpg", &jpeg(64, 48, 1));
    put(&home, "other.jpg", &jpeg(64, 48, 2));
    put(&home, "text.jpg", b"no picture, whatever its name");
    put(&home, "large.jpg", &vec![0; 100_001]);
    let upload = async |arguments: &[&str], token: &str| {
        let ran = run_with(&home, &[&["upload", "--json"], arguments].concat(), &[("PIXERVE_TOKEN", token)], b"").await;
        (ran.code, ran)
    };
    let (code, ran) = upload(&["good.jpg"], &token).await;
    assert_eq!(code, Some(4), "no server: {ran:#?}");

    let server = home.start().await;
    let (code, ran) = upload(&["good.jpg", "text.jpg", "large.jpg", "missing.jpg"], &token).await;
    assert_eq!(code, Some(3), "{ran:#?}");
    assert!(by_file(&ran, "good.jpg")["job_id"].is_string());
    assert_eq!(by_file(&ran, "text.jpg")["error"]["code"], "unsupported_image");
    assert_eq!(by_file(&ran, "large.jpg")["error"]["code"], "too_large");
    assert!(
        ran.stderr.contains("large.jpg: it has 100001 bytes, and the server takes 100000; it was not sent"),
        "{ran:#?}"
    );
    assert!(ran.stderr.contains("reading missing.jpg"), "{ran:#?}");

    assert_eq!(upload(&["text.jpg"], &token).await.0, Some(1));
    assert_eq!(upload(&["good.jpg"], "no.token.atall").await.0, Some(5));
    let (code, ran) = upload(&["other.jpg", "--job", "job.json"], &token).await;
    assert_eq!(code, Some(2), "the token has a job: {ran:#?}");
    assert_eq!(run(&home, &["upload", "good.jpg"]).await.code, Some(2), "no job");
    put(&home, "bad.json", br#"{"directHost": true, "keepOriginal": true, "priority": 7}"#);
    let ran = run(&home, &["upload", "good.jpg", "--job", "bad.json"]).await;
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stderr.contains("/job/priority"), "{ran:#?}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preset_of_the_server_says_what_to_make() {
    let home = Home::new(&[]);
    let server = home.start().await;
    let job = json!({ "directHost": true, "subDir": "kept", "formats": { "jpg": { "sizes": [[32]] } }, "once": true });
    let put_preset = server.admin(reqwest::Method::PUT, "/presets/avatar", Some(job)).await;
    assert_eq!(put_preset.status(), 201);
    put_job(&home);
    put(&home, "a.jpg", &jpeg(64, 48, 1));
    put(&home, "b.jpg", &jpeg(64, 48, 2));
    let ran = run(&home, &["upload", "--preset", "avatar", "--sub", "me", "--wait", "--json", "a.jpg", "b.jpg"]).await;
    assert_eq!(ran.code, Some(0), "each with a token of its own: {ran:#?}");
    let location = by_file(&ran, "a.jpg")["status"]["files"][0]["stored"][0]["location"].clone();
    assert!(location.as_str().expect("a location").starts_with("/files/kept/"), "{ran:#?}");

    let ran = run(&home, &["upload", "--preset", "nobody", "a.jpg"]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("/job/preset") && ran.stderr.contains("no preset of this name"), "{ran:#?}");
    for wrong in [&["--preset", "No Name"][..], &["--preset", "avatar", "--job", "job.json"]] {
        assert_eq!(run(&home, &[&["upload", "a.jpg"], wrong].concat()).await.code, Some(2), "{wrong:?}");
    }
    let given = [("PIXERVE_TOKEN", &*Claims::of("me").job(json!({ "preset": "avatar" })).sign())];
    let ran = run_with(&home, &["upload", "--preset", "avatar", "a.jpg"], &given, b"").await;
    assert_eq!(ran.code, Some(2), "the token has a job: {ran:#?}");

    // What the preset says, the server knows: of the job in a file the rest is looked at.
    put(&home, "small.json", br#"{"preset": "avatar", "subDir": "tenant-1"}"#);
    let ran = run(&home, &["token", "--sub", "user-123", "--job", "small.json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.trim().len() < 400, "{} bytes", ran.stdout.trim().len());
    println!("a token with a preset, signed by the command, has {} bytes", ran.stdout.trim().len());
    let token = ran.stdout.trim().to_owned();
    assert_eq!(server.upload(&token, "c.jpg", jpeg(64, 48, 3)).await.status(), 200);
    put(&home, "bad.json", br#"{"preset": "avatar", "priority": 7}"#);
    let ran = run(&home, &["token", "--job", "bad.json"]).await;
    assert!(ran.code == Some(1) && ran.stderr.contains("/job/priority"), "{ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_input_is_uploaded_and_its_job_is_shown_and_can_be_cancelled_by_its_owner() {
    let home = Home::new(&[]);
    let _server = home.start().await;
    put_job(&home);
    let upload = ["upload", "--job", "job.json", "--sub", "me", "--json", "--wait", "-"];
    let ran = run_with(&home, &upload, &[], &png(64, 48, 1)).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let uploaded = by_file(&ran, "-");
    assert!(uploaded["expected_files"][0].as_str().expect("a name").contains("_image_"), "{uploaded}");
    let (id, hash) = (uploaded["job_id"].as_str().expect("an id"), uploaded["hash"].as_str().expect("a hash"));
    for job in [id, hash] {
        let ran = run(&home, &["show", "--json", job]).await;
        assert_eq!((ran.code, &ran.objects()[0]["job_id"]), (Some(0), &uploaded["job_id"]), "{ran:#?}");
    }
    let ran = run(&home, &["show", id]).await;
    assert!(ran.stdout.starts_with(&format!("completed  {id}\n")), "no colours where there is no terminal: {ran:#?}");
    assert!(ran.stdout.contains("files    1 of 1") && ran.stdout.contains("/files/cli/"), "{ran:#?}");
    assert_eq!(run(&home, &["show", "nothing"]).await.code, Some(1));

    let ran = run(&home, &["cancel", "--sub", "me", id]).await;
    assert_eq!(ran.code, Some(1), "it has ended: {ran:#?}");
    assert!(ran.stderr.contains("job_ended"), "{ran:#?}");

    let slow = json!({
        "directHost": true,
        "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[1600], [1500], [1400]], "enlarge": true } }
    });
    put(&home, "slow.json", slow.to_string().as_bytes());
    put(&home, "slow.jpg", &jpeg(1200, 800, 1));
    let ran = run(&home, &["upload", "--job", "slow.json", "--sub", "me", "--json", "slow.jpg"]).await;
    let job = by_file(&ran, "slow.jpg")["job_id"].as_str().expect("an id").to_owned();
    assert_eq!(run(&home, &["cancel", "--sub", "you", &job]).await.code, Some(1), "another's job is unknown");
    let ran = run(&home, &["cancel", "--sub", "me", "--json", &job]).await;
    assert_eq!((ran.code, ran.objects()), (Some(0), vec![json!({ "job_id": job, "state": "cancelled" })]));
    assert_eq!(run(&home, &["show", "--json", &job]).await.objects()[0]["state"], "cancelled");
}
