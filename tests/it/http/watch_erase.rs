//! `GET /#watch`: erasing, with a question first.

use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::browser::Browser;
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

fn contains(seen: &Value, words: &[&str]) {
    let text = seen.as_str().unwrap_or_default();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {seen}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
async fn an_operator_is_told_what_would_go_and_asked_before_it_goes() {
    let Some(browser) = Browser::find() else { return };
    let app = TestApp::start_demo(&[]).await;
    let files = tempfile::tempdir().expect("a temporary directory");
    let photo = files.path().join("photo.jpg");
    std::fs::write(&photo, jpeg(48, 32, 1)).expect("written");
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[16], [8]] } } });
    let order = json!({
        "base": format!("http://{}", app.addr()),
        "photo": photo,
        "served": Claims::of("demo").job(job).sign(),
        "admin": Claims::of("operator").admin().sign(),
        "sub": "demo",
    });
    let seen = browser.drive(concat!(include_str!("visit.mjs"), include_str!("watch_erase.mjs")), order).await;
    assert_eq!((&seen["errors"], &seen["violations"]), (&json!([]), &json!([])), "{seen}");

    let one = &seen["one"];
    assert_eq!((&one["asked"]["title"], &one["asked"]["isOpen"]), (&json!("Erase this job?"), &json!(true)));
    contains(&one["asked"]["text"], &["2 files of 1 job", "Nobody can bring that back"]);
    assert_eq!(one["asked"]["focused"], "question-no", "what changes nothing is at hand");
    assert_eq!((&one["before"], &one["kept"]), (&json!([200, 200]), &json!([200, 200])), "asking changes nothing");
    assert_eq!(one["returned"], "story-erase");
    contains(&one["note"], &["1 job erased", "2 files deleted"]);
    assert_eq!((&one["after"], &one["focused"]), (&json!([404, 404]), &json!("story-title")));
    assert_eq!(one["acts"], false, "nothing is left to be done with it");

    let owner = &seen["owner"];
    contains(&owner["asked"]["title"], &["Erase all of “demo”?"]);
    contains(&owner["asked"]["text"], &["4 files of 2 jobs"]);
    contains(&owner["note"], &["2 jobs erased", "4 files deleted"]);
    assert_eq!(owner["after"], json!([404, 404, 404, 404]));
}
