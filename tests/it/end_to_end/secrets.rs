//! What is secret is in no log line, at any level, and on no disk in the clear.

use std::path::Path;

use serde_json::json;

use crate::harness::app::files_below;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::receiver::Receiver;
use crate::harness::stores::{dead_store, s3};
use crate::harness::token::{Claims, SECRET};

/// The files below `dir` that hold `secret`.
fn holders(dir: &Path, secret: &str) -> Vec<String> {
    let holds = |name: &String| {
        let bytes = std::fs::read(dir.join(name)).expect("it can be read");
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    };
    files_below(dir).into_iter().filter(holds).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_a_log_a_record_or_the_disk() {
    let home = Home::new(&[("PIXERVE_LOG", "info,pixerve=trace"), ("PIXERVE_STORES_GIVE_UP_AFTER", "1s")]);
    let mut server = home.start().await;
    let (receiver, s3) = (Receiver::start().await, s3().await);
    s3.create_bucket("secrets");
    let key = server.register(s3.registration("secrets")).await;
    let mut dead = dead_store();
    dead["secret_access_key"] = json!("canary-of-a-dead-store");
    let dead_key = server.register(dead).await;

    let job = |key: &str| {
        json!({
            "directHost": true, "storageKeys": { "s3": key }, "keepOriginal": true,
            "completionCallback": format!("{}?token=canary-in-a-query", receiver.url),
            "callbackHeaders": { "Authorization": "Bearer canary-of-a-header" },
            "formats": { "jpg": { "sizes": [[16]] } }
        })
    };
    let (good, bad) = (Claims::of("me").job(job(&key)).sign(), Claims::of("me").job(job(&dead_key)).sign());
    receiver.answer(500);
    for (token, seed) in [(&good, 1), (&bad, 2)] {
        let accepted = server.upload(token, "a.jpg", jpeg(20, 20, seed)).await;
        assert_eq!(accepted.status(), 200);
        server.ended(&accepted.json().await.expect("JSON")).await;
        assert_eq!(receiver.call().await.headers["authorization"], "Bearer canary-of-a-header");
    }
    let forged = server.upload("canary.of.a-token", "a.jpg", jpeg(20, 20, 3)).await;
    assert_eq!(forged.status(), 401);
    server.terminate();
    assert!(server.exited().await.success());

    assert!(home.log().contains("job failed"), "the log was written: {}", home.log());
    let signature = |token: &str| token.rsplit('.').next().expect("a signature").to_owned();
    let secrets = [
        "canary-of-a-header".to_owned(),
        "canary-in-a-query".to_owned(),
        "canary-of-a-dead-store".to_owned(),
        "canary.of.a-token".to_owned(),
        s3.secret.clone(),
        SECRET.to_owned(),
        signature(&good),
        signature(&bad),
    ];
    for secret in secrets {
        assert_eq!(holders(home.root(), &secret), Vec::<String>::new(), "{secret}");
    }
    assert!(!home.terminal().contains("canary"), "{}", home.terminal());
}
