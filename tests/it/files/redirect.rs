//! `/files/` that others send: where clients are sent to, without a look at whether there is anything.

use http::StatusCode;
use pixerve::bucket::KeyPrefix;
use pixerve::routes::files::{self, FileSource, RedirectOrigin};
use tempfile::TempDir;

use super::{Site, Stored};

fn site(origin: &str, prefix: &str) -> Site {
    let origin = RedirectOrigin::parse(origin).expect("an origin");
    let prefix = KeyPrefix::parse(prefix).expect("a prefix");
    let nothing = Stored::Directory(TempDir::new().expect("a directory"));
    Site { stored: nothing, router: files::router(FileSource::redirect(&origin, &prefix)) }
}

#[tokio::test]
async fn a_client_is_sent_to_the_key_at_the_origin() {
    for (origin, prefix, path, location) in [
        (
            "https://cdn.example",
            "px/live",
            "tenant/a/photo.png",
            "https://cdn.example/px/live/serve/tenant/a/photo.png",
        ),
        ("http://127.0.0.1:9000", "", "photo%2Epng?v=2", "http://127.0.0.1:9000/serve/photo.png"),
        ("https://cdn.example", "px", "k=v,w~1+2@x/a.png", "https://cdn.example/px/serve/k%3Dv%2Cw~1%2B2%40x/a.png"),
    ] {
        let site = site(origin, prefix);
        for method in ["GET", "HEAD"] {
            let answer = site.request(method, &format!("/files/{path}"), &[("range", "bytes=0-1")]).await;
            assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, Some(location)), "{method}");
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
}

#[tokio::test]
async fn nobody_is_sent_to_a_path_that_no_file_has() {
    let site = site("https://cdn.example", "px");
    for path in [
        "../photo.png",
        "%2e%2e/photo.png",
        ".hidden.png",
        "tenant/.hidden.png",
        "tenant//photo.png",
        "tenant/",
        "//evil.example/photo.png",
        "photo.png%0d%0ax-injected:%201",
    ] {
        let answer = site.get(&format!("/files/{path}"), &[]).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::NOT_FOUND, None), "{path}");
    }
    assert_eq!(site.request("POST", "/files/photo.png", &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);
}
