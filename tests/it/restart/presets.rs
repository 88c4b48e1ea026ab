//! Presets and what stops a server: what was answered is there, and a bad file is told of before anything else.

use std::path::Path;

use reqwest::Method;
use serde_json::json;

use crate::harness::process::Home;
use crate::harness::token::Claims;

#[expect(clippy::disallowed_methods, reason = "a test's own file need not be durable")]
fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(path, content).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preset_that_was_answered_survives_a_kill_and_one_that_was_not_is_whole_or_not_there() {
    let home = Home::new(&[]);
    let mut server = home.start().await;
    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
        let put = server.admin(Method::PUT, &format!("/presets/{name}"), Some(json!({ "subDir": name }))).await;
        assert_eq!(put.status(), 201);
        let put = server.admin(Method::PUT, "/presets/a", Some(json!({ "subDir": format!("a{n}") }))).await;
        assert_eq!(put.status(), 204);
        server.kill();
        server = home.start().await;
        let found = async |name: &str| server.admin(Method::GET, &format!("/presets/{name}"), None).await;
        let (one, a) = (found(name).await, found("a").await);
        assert_eq!((one.status(), a.status()), (reqwest::StatusCode::OK, reqwest::StatusCode::OK));
        assert_eq!(a.json::<serde_json::Value>().await.expect("JSON"), json!({ "subDir": format!("a{n}") }));
    }
    server.kill();
    // Before it is durable, and after: nobody is answered either way.
    for step in ["register::written", "register::durable"] {
        let mut server = home.start_with(&[("FAILPOINTS", &format!("{step}=return"))]).await;
        let token = Claims::of("operator").admin().sign();
        let request = server
            .request(Method::PUT, "/presets/a")
            .bearer_auth(token)
            .json(&json!({ "subDir": step.len().to_string() }));
        assert!(request.send().await.is_err(), "{step}");
        server.exited().await;
        let server = home.start().await;
        let found =
            server.admin(Method::GET, "/presets/a", None).await.json::<serde_json::Value>().await.expect("JSON");
        let new = json!({ "subDir": step.len().to_string() });
        assert!(found == new || found == json!({ "subDir": "a2" }), "{step}: {found}");
        let put = server.admin(Method::PUT, "/presets/a", Some(json!({ "subDir": "a2" }))).await;
        assert_eq!(put.status(), 204);
        server.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_with_files_of_presets_is_told_at_once_by_file_and_pointer() {
    let home = Home::new(&[("PIXERVE_PRESETS_DIR", "presets")]);
    let at = |name: &str| home.root().join("presets").join(name);
    let mut missing = home.spawn(&[]);
    assert_eq!(missing.exited().await.code(), Some(2), "{}", home.terminal());
    assert!(home.terminal().contains("presets: the directory of presets can't be read"), "{}", home.terminal());

    write(&at("good.json"), r#"{"directHost": true, "formats": {"jpg": {}}}"#);
    write(&at("bad.json"), r#"{"formats": {"jpg": {"settings": {"quality": 101}}}, "typo": 1}"#);
    write(&at("broken.json"), "{");
    write(&at("No Name.json"), "{}");
    write(&at("secret.json"), r#"{"callbackHeaders": {"authorization": "hidden-value"}, "preset": "good"}"#);
    write(&at("large.json"), " ".repeat(16 * 1024 + 1));
    let mut bad = home.spawn(&[]);
    assert_eq!(bad.exited().await.code(), Some(2), "{}", home.terminal());
    let said = home.terminal();
    for line in [
        "there are 7 errors in the presets",
        "presets/bad.json: /formats/jpg/settings/quality: ",
        "presets/bad.json: /typo: ",
        "presets/broken.json: it is not usable JSON: line 1",
        "presets/No Name.json: what stands before .json must be the name of a preset",
        "presets/secret.json: /callbackHeaders: ",
        "presets/secret.json: /preset: ",
        "presets/large.json: it has more than the 16384 bytes",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    assert!(!said.contains("hidden-value") && !said.contains("good.json"), "{said}");

    let ran = home.command(&["doctor", "--json"]).output().expect("it runs");
    let told = String::from_utf8(ran.stdout).expect("UTF-8");
    assert_eq!(told.matches("\"check\":\"presets\"").count(), 7, "{told}");
    assert!(told.contains("presets/bad.json: /typo: "), "{told}");

    for name in ["bad", "broken", "No Name", "secret", "large"] {
        std::fs::remove_file(at(&format!("{name}.json"))).expect("removed");
    }
    let server = home.start().await;
    assert_eq!(server.admin(Method::GET, "/presets/good", None).await.status(), 200);
    let ran = home.command(&["doctor", "--json"]).output().expect("it runs");
    let told = String::from_utf8(ran.stdout).expect("UTF-8");
    assert!(told.contains("1 preset in presets can be read"), "{told}");

    // A store that a user has for itself is no business of a preset, and is known once the register is open.
    assert_eq!(server.admin(Method::POST, "/register", Some(json!({ "user": "shop" }))).await.status(), 201);
    let mut store = crate::harness::stores::dead_store();
    store["user"] = json!("shop");
    let key = server.register(store).await;
    write(&at("of-shop.json"), json!({ "storageKeys": { "s3": key } }).to_string());
    write(&at("later.json"), json!({ "storageKeys": { "s3": "pxs_later" } }).to_string());
    server.kill();
    let mut bad = home.spawn(&[]);
    assert_eq!(bad.exited().await.code(), Some(2), "{}", home.terminal());
    let said = home.terminal();
    assert!(said.contains("presets/of-shop.json: /storageKeys/s3: the store belongs to a user"), "{said}");
    std::fs::remove_file(at("of-shop.json")).expect("removed");
    drop(home.start().await);
    assert!(home.log().contains("later.json"), "one that nobody has registered is a warning: {}", home.log());
}
