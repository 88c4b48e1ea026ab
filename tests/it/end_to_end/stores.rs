//! Every store a job can name gets every file, under the same name and with the same bytes.

use pixerve::job::ContentHash;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, files_below};
use crate::harness::picture::{jpeg, png};
use crate::harness::stores::{GcsServer, S3Server, StoredObject, gcs, s3};

/// A server, and a bucket of its own in each remote store.
pub(super) struct Everywhere {
    pub(super) app: TestApp,
    pub(super) s3: S3Server,
    pub(super) gcs: GcsServer,
    pub(super) bucket: String,
    pub(super) s3_key: String,
    pub(super) gcs_key: String,
}

impl Everywhere {
    /// `bucket` must be one that no other test uses.
    async fn start(bucket: &str) -> Self {
        let (app, s3, gcs) = tokio::join!(TestApp::start(), s3(), gcs());
        s3.create_bucket(bucket);
        gcs.create_bucket(bucket).await;
        let prefixed = |mut registration: Value| {
            registration["prefix"] = json!("shop/pictures");
            registration
        };
        let s3_key = app.register(prefixed(s3.registration(bucket))).await;
        let gcs_key = app.register(prefixed(gcs.registration(bucket))).await;
        Self { app, s3, gcs, bucket: bucket.to_owned(), s3_key, gcs_key }
    }

    /// What this backend holds at the location that a status names.
    async fn object(&self, stored: &Value) -> StoredObject {
        let location = stored["location"].as_str().expect("a location");
        let key = |scheme: &str| {
            let key = location.strip_prefix(&format!("{scheme}://{}/", self.bucket));
            key.unwrap_or_else(|| panic!("{location} is not in {scheme}://{}", self.bucket)).to_owned()
        };
        let object = match stored["backend"].as_str().expect("a backend") {
            "directHost" => {
                let answer = self.app.get(location).await;
                assert_eq!(answer.status(), 200, "{location}");
                let [content_type, cache_control] = ["content-type", "cache-control"]
                    .map(|name| Some(answer.headers()[name].to_str().expect("text").to_owned()));
                let bytes = answer.bytes().await.expect("a body").to_vec();
                Some(StoredObject { bytes, content_type, cache_control })
            }
            "s3" => self.s3.object(&self.bucket, &key("s3")).await,
            "gcs" => self.gcs.object(&self.bucket, &key("gs")).await,
            other => panic!("an unknown backend {other}"),
        };
        object.unwrap_or_else(|| panic!("nothing at {location}"))
    }

    /// The storage part of a job that goes to these backends.
    fn job(&self, backends: &[&str]) -> Value {
        let mut job = json!({
            "keepOriginal": true, "subDir": "tenant-1/2026",
            "formats": { "jpg": { "sizes": [[48, 36], [20]] }, "png": { "sizes": [[10, 0]] }, "webp": {} }
        });
        job["directHost"] = json!(backends.contains(&"directHost"));
        for (name, key) in [("s3", &self.s3_key), ("gcs", &self.gcs_key)] {
            if backends.contains(&name) {
                job["storageKeys"][name] = json!(key);
            }
        }
        job
    }

    fn location(&self, backend: &str, name: &str) -> String {
        match backend {
            "directHost" => format!("/files/tenant-1/2026/{name}"),
            "s3" => format!("s3://{}/shop/pictures/tenant-1/2026/{name}", self.bucket),
            _ => format!("gs://{}/shop/pictures/tenant-1/2026/{name}", self.bucket),
        }
    }

    /// Asserts that a completed job's files are in exactly these backends, byte for byte what the status says.
    async fn assert_holds(&self, status: &Value, backends: &[&str]) {
        assert_eq!(status["state"], "completed", "{status}");
        let files = status["files"].as_array().expect("files");
        assert_eq!(files.len(), 5, "{status}");
        for file in files {
            let name = file["name"].as_str().expect("a name");
            let stored: Vec<_> =
                backends.iter().map(|b| json!({ "backend": b, "location": self.location(b, name) })).collect();
            assert_eq!(file["stored"], json!(stored), "{name}");
            for place in &stored {
                let object = self.object(place).await;
                assert_eq!(file["sha256"], ContentHash::of(&object.bytes).to_string(), "{place}");
                assert_eq!(file["bytes"], object.bytes.len(), "{place}");
                assert_eq!(object.content_type.as_deref(), Some(media_type(name)), "{place}");
            }
        }
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        other => panic!("unexpected extension {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_to_the_store_it_names_and_to_no_other() {
    let all = Everywhere::start("one-store-each").await;
    for (seed, backend) in ["directHost", "s3", "gcs"].into_iter().enumerate() {
        let picture = jpeg(60, 40, u32::try_from(seed).expect("small"));
        let status = all.app.done("me", all.job(&[backend]), "a photo.jpg", picture).await;
        all.assert_holds(&status, &[backend]).await;
    }
    assert_eq!(files_below(&all.app.serve_dir()).len(), 5);
    assert_eq!(all.s3.keys(&all.bucket).await.len(), 5);
    assert_eq!(all.gcs.keys(&all.bucket).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_to_all_its_stores_at_once_with_one_name_and_one_hash() {
    let all = Everywhere::start("all-stores-at-once").await;
    let backends = ["directHost", "gcs", "s3"];
    let picture = png(60, 40, 9);
    let status = all.app.done("me", all.job(&backends), "../a photo.png", picture.clone()).await;
    all.assert_holds(&status, &backends).await;
    let original = status["files"].as_array().and_then(|files| files.last()).expect("the original comes last");
    assert_eq!(original["sha256"], ContentHash::of(&picture).to_string(), "the original is stored as it came");
    assert_eq!(original["name"], format!("{}_a-photo.png", status["hash"].as_str().expect("a hash")));
    assert_eq!(files_below(&all.app.serve_dir()).len(), 5);
    assert_eq!(all.s3.keys(&all.bucket).await, all.gcs.keys(&all.bucket).await);
}
