//! A key file that is lost, or lies elsewhere.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::process::{Home, ServerProcess};

async fn register_user(server: &ServerProcess) -> Value {
    let answer = server.admin(Method::POST, "/register", Some(json!({ "user": "shop" }))).await;
    assert_eq!(answer.status(), 201);
    answer.json().await.expect("JSON")
}

async fn stop(mut server: ServerProcess) {
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_not_replaced_beside_what_it_sealed() {
    let home = Home::new(&[]);
    let server = home.start().await;
    register_user(&server).await;
    stop(server).await;
    let (key, away) = (home.data_dir().join("vault.key"), home.root().join("vault.key"));
    fs::rename(&key, &away).expect("moved");

    let mut refused = home.spawn(&[]);
    assert_eq!(refused.exited().await.code(), Some(2), "no service manager need try that again");
    let told = home.terminal();
    assert!(told.contains("vault.key") && told.contains("that it sealed"), "{told}");
    assert!(told.contains("PIXERVE_VAULT_KEY_FILE") && !key.exists(), "{told}");

    let server = home.start_with(&[("PIXERVE_VAULT_KEY_FILE", &away.display().to_string())]).await;
    let list = server.admin(Method::GET, "/register", None).await.json::<Value>().await.expect("JSON");
    assert_eq!(list["count"], 1, "{list}");
    assert!(!key.exists(), "the key is where the setting says, and nowhere else");
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_replaced_where_nothing_is_sealed() {
    let home = Home::new(&[]);
    stop(home.start().await).await;
    let key = home.data_dir().join("vault.key");
    let before = fs::read(&key).expect("made");
    fs::remove_file(&key).expect("removed");
    let server = home.start().await;
    register_user(&server).await;
    assert_ne!(fs::read(&key).expect("made again"), before);
    stop(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_not_replaced_beside_a_job_with_sealed_headers() {
    let home = Home::new(&[]);
    let server = home.start().await;
    let job = json!({
        "directHost": true,
        "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[1200], [1100], [1000]] } },
        "completionCallback": "http://127.0.0.1:9/hook",
        "callbackHeaders": { "Authorization": "Bearer secret" },
    });
    server.accepted("me", job, "a.jpg", crate::harness::picture::jpeg(1200, 1200, 1)).await;
    server.kill();
    fs::remove_file(home.data_dir().join("vault.key")).expect("removed");
    let mut refused = home.spawn(&[]);
    assert_eq!(refused.exited().await.code(), Some(2));
    assert!(home.terminal().contains("that it sealed"), "{}", home.terminal());
}
