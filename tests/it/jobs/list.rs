//! `GET /jobs`.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::home::{JobsHome, RegisteredUser, admin, get, ids, send, text, with_scope};
use crate::harness::app::{TestApp, assert_problem, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::stores::{GIVES_UP_SOON, dead_store};
use crate::harness::token::Claims;

every_home! {
    jobs_are_listed_newest_first_as_their_status_shows_them,
    each_scope_lists_as_far_as_it_reaches,
    a_list_is_narrowed_by_state_time_error_and_store,
    what_waits_for_a_store_or_its_turn_is_found,
    what_is_asked_for_in_a_wrong_way_is_a_400,
}

/// Uploads with this token what must be accepted: the id.
async fn accepted(app: &TestApp, claims: &Claims, job: Value, picture: Vec<u8>) -> String {
    let response = app.upload(&claims.clone().job(job).sign(), "a.jpg", picture).await;
    let body: Value = response.json().await.expect("JSON");
    text(&body["job_id"]).to_owned()
}

async fn ended(app: &TestApp, id: &str) -> Value {
    app.ended(&json!({ "status_url": format!("/status?job_id={id}") })).await
}

async fn listed(app: &TestApp, token: &Claims, query: &str) -> Vec<String> {
    ids(&get(app, token, &format!("/jobs?{query}")).await).into_iter().map(str::to_owned).collect()
}

async fn jobs_are_listed_newest_first_as_their_status_shows_them(home: JobsHome) {
    let app = home.start(&[]).await;
    let mut uploaded = Vec::new();
    for seed in 0..5 {
        let done = app.done("me", small_job(), "a.jpg", jpeg(32, 32, seed)).await;
        uploaded.push(text(&done["job_id"]).to_owned());
    }
    uploaded.reverse();
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = get(&app, &admin(), &format!("/jobs?limit=2&cursor={cursor}")).await;
        assert_eq!(page["count"], page["jobs"].as_array().expect("a list").len());
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        for job in page["jobs"].as_array().expect("a list") {
            assert_eq!(*job, app.get_json(&format!("/status?job_id={}", text(&job["job_id"]))).await);
        }
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!((seen, pages), (uploaded, 3));
}

async fn each_scope_lists_as_far_as_it_reaches(home: JobsHome) {
    let app = home.start(&[]).await;
    let (shop, other) = (RegisteredUser::register(&app, "shop").await, RegisteredUser::register(&app, "other").await);
    let owners = [shop.claims("a"), shop.claims("b"), other.claims("a"), Claims::of("a"), Claims::of("b")];
    let mut jobs = Vec::new();
    for (seed, owner) in (1..).zip(&owners) {
        let id = accepted(&app, owner, small_job(), jpeg(32, 32, seed)).await;
        ended(&app, &id).await;
        jobs.push(id);
    }
    // Which of them each token reaches, newest first, by which query; none: 404.
    let cases: [(Claims, &str, Option<&[usize]>); 20] = [
        (with_scope(&owners[0], "manage"), "", Some(&[0])),
        (with_scope(&owners[0], "manage"), "sub=a&user=shop", Some(&[0])),
        (with_scope(&owners[0], "manage"), "sub=b", None),
        (with_scope(&owners[0], "manage"), "user=other", None),
        (with_scope(&owners[0], "manage-user"), "", Some(&[1, 0])),
        (with_scope(&owners[0], "manage-user"), "sub=b", Some(&[1])),
        (with_scope(&owners[0], "manage-user"), "sub=nobody", Some(&[])),
        (with_scope(&owners[0], "manage-user"), "user=other&sub=a", None),
        (with_scope(&owners[0], "manage-user admin"), "", Some(&[1, 0])),
        (with_scope(&owners[3], "manage"), "", Some(&[3])),
        (with_scope(&owners[3], "manage-user"), "", Some(&[4, 3])),
        (with_scope(&owners[3], "manage-user"), "user=shop", None),
        (admin(), "", Some(&[4, 3, 2, 1, 0])),
        (admin(), "sub=a", Some(&[3])),
        (admin(), "user=shop", Some(&[1, 0])),
        (admin(), "user=shop&sub=b", Some(&[1])),
        (admin(), "user=other&sub=b", Some(&[])),
        (admin(), "user=nobody", None),
        (admin(), "user=shop&state=completed", Some(&[1, 0])),
        (admin(), "user=shop&state=failed", Some(&[])),
    ];
    for (token, query, expected) in cases {
        if let Some(expected) = expected {
            let expected: Vec<_> = expected.iter().map(|n| jobs[*n].clone()).collect();
            assert_eq!(listed(&app, &token, query).await, expected, "{query}");
        } else {
            let answer = send(&app, &token, Method::GET, &format!("/jobs?{query}")).await;
            assert_problem(answer, 404, "not_found").await;
        }
    }
    let without = send(&app, &owners[0], Method::GET, "/jobs").await;
    assert_problem(without, 403, "forbidden").await;
}

async fn a_list_is_narrowed_by_state_time_error_and_store(home: JobsHome) {
    let app = home.start(&GIVES_UP_SOON).await;
    let me = Claims::of("me");
    let store = app.register(dead_store()).await;
    let stored = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } } });
    let completed = accepted(&app, &me, small_job(), jpeg(32, 32, 1)).await;
    let first = ended(&app, &completed).await;
    let mut cut = jpeg(64, 64, 3);
    cut.truncate(cut.len() / 2);
    let broken = accepted(&app, &me, small_job(), cut).await;
    let unreachable = accepted(&app, &me, stored, jpeg(32, 32, 2)).await;
    let codes = [ended(&app, &broken).await, ended(&app, &unreachable).await].map(|job| job["error_code"].clone());
    assert_eq!(codes, ["image_truncated", "store_unreachable"]);
    let all = [&unreachable, &broken, &completed];
    let manager = with_scope(&me, "manage");
    for (query, expected) in [
        ("", &all[..]),
        ("state=completed", &all[2..]),
        ("state=failed", &all[..2]),
        ("state=cancelled", &[]),
        ("error_code=image_truncated", &all[1..2]),
        ("error_code=store_unreachable&state=failed", &all[..1]),
        ("error_code=store_unreachable&state=completed", &[]),
        (&format!("store={store}"), &all[..1]),
        ("store=pxs_none", &[]),
        (&format!("since={}", text(&first["created_at"])), &all[..]),
        (&format!("until={}", text(&first["created_at"])), &[]),
        (&format!("since={}", text(&first["finished_at"])), &all[..2]),
        (&format!("until={}&state=completed", text(&first["finished_at"])), &all[2..]),
        ("since=2999-01-01T00:00:00Z", &[]),
        ("until=2001-01-01T00:00:00Z&state=failed", &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|id| (*id).clone()).collect();
        assert_eq!(listed(&app, &manager, query).await, expected, "{query}");
    }
    // Found one by one, none is missed and none comes twice.
    let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = get(&app, &manager, &format!("/jobs?limit=1&error_code=image_truncated&cursor={cursor}")).await;
        assert!(ids(&page).into_iter().all(|id| seen.insert(id.to_owned())), "{page}");
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(seen, BTreeSet::from([broken]));
}

async fn what_waits_for_a_store_or_its_turn_is_found(home: JobsHome) {
    let app = home.start(&[("PIXERVE_MAX_WORKERS", "1")]).await;
    let store = app.register(dead_store()).await;
    let me = Claims::of("me");
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } } });
    let waiting = accepted(&app, &me, job.clone(), jpeg(32, 32, 1)).await;
    let done = accepted(&app, &me, small_job(), jpeg(32, 32, 2)).await;
    ended(&app, &done).await;
    // Of the same bytes, so it waits for the other's end.
    let mut queued = job;
    queued["onDuplicate"] = json!("queue");
    let held = accepted(&app, &me, queued, jpeg(32, 32, 1)).await;
    let manager = with_scope(&me, "manage");
    loop {
        if listed(&app, &manager, "waiting_for=store").await == [waiting.clone()] {
            break;
        }
        poll_delay().await;
    }
    for (query, expected) in [
        ("waiting_for=turn", vec![held.clone()]),
        ("waiting_for=turn&state=pending", vec![held.clone()]),
        ("waiting_for=turn&state=completed", vec![]),
        ("waiting_for=memory", vec![]),
        ("waiting_for=store&state=pending", vec![]),
        ("waiting_for=store&limit=1", vec![waiting.clone()]),
        ("state=pending", vec![held.clone()]),
    ] {
        assert_eq!(listed(&app, &manager, query).await, expected, "{query}");
    }
}

async fn what_is_asked_for_in_a_wrong_way_is_a_400(home: JobsHome) {
    let app = home.start(&[]).await;
    for query in
        ["state=lost", "since=yesterday", "until=1", "waiting_for=luck", "limit=-1", "limit=many", "status=failed"]
    {
        let answer = send(&app, &admin(), Method::GET, &format!("/jobs?{query}")).await;
        assert_problem(answer, 400, "bad_parameter").await;
    }
    let answer = send(&app, &admin(), Method::GET, "/jobs?cursor=-").await;
    assert_problem(answer, 400, "bad_request").await;
    for (path, query) in [
        ("/success/list", "state=completed"),
        ("/failures/list", "since=2026-01-01T00:00:00Z"),
        ("/deliveries", "state=pending&since=2026-01-01T00:00:00Z"),
    ] {
        let answer = send(&app, &admin(), Method::GET, &format!("{path}?{query}")).await;
        let problem = assert_problem(answer, 400, "bad_parameter").await;
        assert!(text(&problem["detail"]).contains("unknown field"), "{problem}");
    }
}
