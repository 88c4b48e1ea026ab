//! What an erasure reaches, and what it says of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::home::{ErasureHome, PICTURES, assert_unknown, erase, erased, manager, stored_job, text, until};
use crate::harness::app::{assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

every_home! {
    everything_of_a_job_goes_from_every_place_and_nobody_is_told_of_it_any_more,
    nothing_of_a_subject_is_left_anywhere_once_it_is_purged,
    a_hash_means_all_of_its_jobs,
    what_another_job_names_is_kept_until_that_is_erased_too,
    a_subject_is_erased_and_no_other,
    a_dry_run_changes_nothing,
    a_live_job_is_cancelled_and_nothing_more_of_it_appears,
    the_original_of_a_cancelled_job_is_not_kept,
    a_request_is_not_answered_again_with_an_erased_job,
    what_is_asked_for_must_be_one_thing_that_is_there,
    what_is_stored_is_known_when_its_record_is_gone,
    a_stored_original_is_worked_on_again_when_its_record_is_gone,
}

async fn everything_of_a_job_goes_from_every_place_and_nobody_is_told_of_it_any_more(home: ErasureHome) {
    let app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let job = app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    assert_eq!((home.served(&app).len(), home.store.keys(PICTURES).await.len()), (2, 2));

    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&job["job_id"]))).await;

    assert_eq!(answer["state"], "done");
    assert_eq!(answer["jobs"], 1);
    assert_eq!(answer["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
    assert_eq!((&answer["kept"], &answer["left"]), (&json!([]), &json!([])));
    assert!(home.served(&app).is_empty() && home.store.keys(PICTURES).await.is_empty());
    assert_unknown(&app, &job).await;
    let shown = until(&app, &manager("me"), text(&answer["erasure_id"]), |_| true).await;
    assert_eq!(shown["files"], answer["files"]);
    let again = erase(&app, &manager("me"), &format!("job_id={}", text(&job["job_id"]))).await;
    assert_problem(again, 404, "not_found").await;
    let metrics = app.admin(Method::GET, "/metrics", None).await.text().await.expect("text");
    assert!(metrics.contains(r#"pixerve_store_operations_total{backend="s3",operation="delete",result="ok"} 2"#));
}

async fn nothing_of_a_subject_is_left_anywhere_once_it_is_purged(home: ErasureHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let mut job = stored_job(&access_key);
    job["subDir"] = json!("canary-directory");
    job["completionCallback"] = json!(receiver.url);
    receiver.answer(500);
    // Something else that stays, so that there is a database to be rewritten.
    app.done("bystander", small_job(), "b.jpg", jpeg(96, 96, 2)).await;
    let job = app.done("canary-subject", job, "canary-name.jpg", jpeg(96, 96, 1)).await;
    let failing = json!({ "storageKeys": { "s3": access_key }, "formats": { "jpg": { "sizes": [[64]] } } });
    let cancelled = app.accepted("canary-subject", failing, "canary-second.jpg", jpeg(600, 600, 3)).await;
    let token = Claims::of("canary-subject").sign();
    let path = format!("/cancel?job_id={}", text(&cancelled["job_id"]));
    app.request(Method::DELETE, &path).bearer_auth(token).send().await.expect("an answer");
    let canaries = ["canary-subject", "canary-directory", "canary-name", "canary-second", text(&job["job_id"])];
    assert!(!home.traces_of(&app, "canary-directory").await.is_empty(), "the test finds what is there");

    let answer = erased(&app, &manager("canary-subject"), "sub=canary-subject").await;
    let id = text(&answer["erasure_id"]);
    assert_eq!((answer["state"].as_str(), answer["jobs"].as_u64()), (Some("done"), Some(2)), "{answer}");
    until(&app, &manager("canary-subject"), id, |erasure| erasure["purged_at"].is_string()).await;

    for canary in &canaries[..4] {
        assert_eq!(home.traces_of(&app, canary).await, [""; 0], "{canary}");
    }
    for list in ["/jobs", "/success/list", "/failures/list", "/deliveries?state=pending"] {
        let list = app.admin(Method::GET, list, None).await.text().await.expect("text");
        assert!(canaries.iter().all(|canary| !list.contains(canary)), "{list}");
    }
    assert_eq!(app.get_json("/health").await["status"], "healthy");
    app.done("bystander", small_job(), "c.jpg", jpeg(96, 96, 4)).await;
}

async fn a_hash_means_all_of_its_jobs(home: ErasureHome) {
    let app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let job = app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    for _ in 0..2 {
        app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    }
    let hash = format!("hash={}", text(&job["hash"]));
    // Each place is one, whoever of the three names it.
    let files = json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 });
    let plan = erased(&app, &manager("me"), &format!("{hash}&dry_run=true")).await;
    assert_eq!((&plan["jobs"], &plan["files"]), (&json!(3), &files), "{plan}");

    let answer = erased(&app, &manager("me"), &hash).await;

    assert_eq!((&answer["jobs"], &answer["files"]), (&json!(3), &files), "{answer}");
    assert!(home.store.keys(PICTURES).await.is_empty());
    assert_eq!(home.served(&app), [""; 0]);
    assert_unknown(&app, &job).await;
}

async fn what_another_job_names_is_kept_until_that_is_erased_too(home: ErasureHome) {
    let app = home.start(&[]).await;
    let first = app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    let second = app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    let location = text(&first["files"][0]["stored"][0]["location"]);

    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&first["job_id"]))).await;
    assert_eq!(answer["files"], json!({ "deleted": 0, "missing": 0, "kept": 1, "left": 0 }));
    assert_eq!(answer["kept"], json!([{ "job_id": second["job_id"] }]), "once done, without locations");
    assert_eq!(app.get(location).await.status(), 200);

    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&second["job_id"]))).await;
    assert_eq!(answer["files"], json!({ "deleted": 1, "missing": 0, "kept": 0, "left": 0 }));
    assert_eq!(app.get(location).await.status(), 404);
}

async fn a_subject_is_erased_and_no_other(home: ErasureHome) {
    let app = home.start(&[]).await;
    for seed in 0..3 {
        app.done("me", small_job(), "a.jpg", jpeg(96, 96, seed)).await;
    }
    let other = app.done("you", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    assert_problem(erase(&app, &manager("you"), "sub=me").await, 404, "not_found").await;
    assert_problem(erase(&app, &manager("you"), "sub=me&dry_run=true").await, 404, "not_found").await;
    assert_problem(erase(&app, &Claims::of("me"), "sub=me").await, 403, "forbidden").await;

    let answer = erased(&app, &Claims::of("operator").admin(), "sub=me").await;

    assert_eq!((&answer["jobs"], &answer["files"]["deleted"]), (&json!(3), &json!(3)), "{answer}");
    let id = text(&answer["erasure_id"]);
    until(&app, &manager("me"), id, |_| true).await;
    let foreign = app.request(Method::GET, &format!("/erasures/{id}")).bearer_auth(manager("you").sign());
    assert_problem(foreign.send().await.expect("an answer"), 404, "not_found").await;
    assert_eq!(app.get(text(&other["files"][0]["stored"][0]["location"])).await.status(), 200);
    assert_problem(erase(&app, &manager("me"), "sub=me").await, 404, "not_found").await;
}

async fn a_dry_run_changes_nothing(home: ErasureHome) {
    let app = home.start(&[]).await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let job = app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;

    let answer = erased(&app, &manager("me"), "sub=me&dry_run=true").await;

    let files = json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 });
    assert_eq!(answer, json!({ "state": "dry_run", "jobs": 1, "files": files, "kept": [], "left": [] }));
    assert_eq!(app.get_json(&format!("/status?job_id={}", text(&job["job_id"]))).await["state"], "completed");
    assert_eq!((home.served(&app).len(), home.store.keys(PICTURES).await.len()), (2, 2));
}

async fn a_live_job_is_cancelled_and_nothing_more_of_it_appears(home: ErasureHome) {
    let app = home.start(&[]).await;
    let slow = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[32]] }, "avif": { "settings": { "speed": 1 }, "sizes": [[900], [800], [700]] } } });
    let live = app.accepted("me", slow, "a.jpg", jpeg(1000, 1000, 1)).await;
    app.processing(&live).await;

    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&live["job_id"]))).await;

    assert_eq!(answer["state"], "done", "{answer}");
    assert_unknown(&app, &live).await;
    assert_eq!(home.served(&app), [""; 0]);
    assert!(home.traces_of(&app, "spool/jobs").await.is_empty());
    // The same bytes are new.
    app.done("me", small_job(), "a.jpg", jpeg(1000, 1000, 1)).await;
}

async fn the_original_of_a_cancelled_job_is_not_kept(home: ErasureHome) {
    let app = home.start(&[]).await;
    let slow =
        json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[900], [800]] } } });
    let live = app.accepted("me", slow, "a.jpg", jpeg(1000, 1000, 1)).await;
    let path = format!("/cancel?job_id={}", text(&live["job_id"]));
    let cancelled = app.request(Method::DELETE, &path).bearer_auth(Claims::of("me").sign()).send().await;
    assert_eq!(cancelled.expect("an answer").status(), StatusCode::NO_CONTENT);

    erased(&app, &manager("me"), "sub=me").await;

    let retried = app.request(Method::POST, &format!("/retry?job_id={}", text(&live["job_id"])));
    assert_problem(retried.bearer_auth(manager("me").sign()).send().await.expect("an answer"), 404, "not_found").await;
    let originals = home.traces_of(&app, text(&live["job_id"])).await;
    assert!(originals.iter().all(|place| !place.contains("kept")), "{originals:?}");
}

async fn a_request_is_not_answered_again_with_an_erased_job(home: ErasureHome) {
    let app = home.start(&[]).await;
    let upload = async || {
        let form = reqwest::multipart::Part::bytes(jpeg(96, 96, 1)).file_name("a.jpg");
        let form = reqwest::multipart::Form::new().part("file", form);
        let token = Claims::of("me").job(small_job()).sign();
        let request = app.request(Method::POST, "/upload").bearer_auth(token).multipart(form);
        request.header("idempotency-key", "the-one-and-only-key").send().await.expect("an answer")
    };
    let accepted: Value = upload().await.json().await.expect("JSON");
    app.ended(&accepted).await;
    assert_eq!(upload().await.status(), 200);

    erased(&app, &manager("me"), &format!("job_id={}", text(&accepted["job_id"]))).await;

    let problem = assert_problem(upload().await, 410, "erased").await;
    assert!(!problem.to_string().contains(text(&accepted["job_id"])), "{problem}");
}

async fn what_is_asked_for_must_be_one_thing_that_is_there(home: ErasureHome) {
    let app = home.start(&[]).await;
    let none = "01890000-0000-7000-8000-000000000000";
    for bad in ["", "job_id=", "job_id=a", "hash=none", "sub=me&hash=x", "job_id=a&sub=me", "job=1", "sub=me&dry_run=2"]
    {
        assert_problem(erase(&app, &manager("me"), bad).await, 400, "bad_parameter").await;
    }
    let with_user = format!("job_id={none}&user=shop");
    assert_problem(erase(&app, &manager("me"), &with_user).await, 400, "bad_parameter").await;
    for nothing in [&*format!("job_id={none}"), "sub=me", "sub=me&user=shop"] {
        assert_problem(erase(&app, &manager("me"), nothing).await, 404, "not_found").await;
    }
    for id in [none, "none"] {
        let path = format!("/erasures/{id}");
        let unknown = app.request(Method::GET, &path).bearer_auth(manager("me").sign()).send().await;
        assert_problem(unknown.expect("an answer"), 404, "not_found").await;
    }
}

async fn what_is_stored_is_known_when_its_record_is_gone(home: ErasureHome) {
    let mut app = home.start(&[]).await;
    let job = app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    home.lose_records(&mut app).await;
    assert_eq!(app.get(&format!("/status?job_id={}", text(&job["job_id"]))).await.status(), 404);

    let answer = erased(&app, &manager("me"), "sub=me").await;

    assert_eq!(answer["files"], json!({ "deleted": 1, "missing": 0, "kept": 0, "left": 0 }));
    assert_eq!(home.served(&app), [""; 0]);
}

async fn a_stored_original_is_worked_on_again_when_its_record_is_gone(home: ErasureHome) {
    let mut app = home.start(&[]).await;
    let mut job = small_job();
    job["keepOriginal"] = json!(true);
    let first = app.done("me", job, "my_photo.jpg", jpeg(96, 96, 1)).await;
    home.lose_records(&mut app).await;
    let reprocess = async |sub: &str, query: &str| {
        let token = manager(sub).job(json!({ "directHost": true, "formats": { "webp": { "sizes": [[32]] } } }));
        let request = app.request(Method::POST, &format!("/reprocess?{query}")).bearer_auth(token.sign());
        request.send().await.expect("an answer")
    };
    let (id, hash) = (text(&first["job_id"]), text(&first["hash"]));
    assert_problem(reprocess("you", &format!("job_id={id}")).await, 404, "not_found").await;

    for query in [format!("job_id={id}"), format!("hash={hash}&job_id=")] {
        let accepted = reprocess("me", &query).await;
        assert_eq!(accepted.status(), 200, "{query}");
        let accepted: Value = accepted.json().await.expect("JSON");
        let status = app.ended(&accepted).await;
        assert_eq!((&status["state"], &status["reprocess_of"]), (&json!("completed"), &first["job_id"]), "{status}");
        assert!(text(&status["files"][0]["name"]).contains("_my-photo_"), "{status}");
        // Else it is the one with this hash.
        erased(&app, &manager("me"), &format!("job_id={}", text(&accepted["job_id"]))).await;
    }
    erased(&app, &manager("me"), "sub=me").await;
    assert_problem(reprocess("me", &format!("job_id={id}")).await, 404, "not_found").await;
}
