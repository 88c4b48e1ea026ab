//! What a page needs to show a picture.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::upload::dead_store;
use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::browser::Browser;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::receiver::Receiver;

const PUBLIC_URL: (&str, &str) = ("PIXERVE_SERVER_PUBLIC_URL", "https://img.example/");
const BASE: &str = "https://img.example";

/// Of a picture of 400 x 300: its own shape at two widths, and a square.
fn job() -> Value {
    let sizes = json!([[40, 0], [160, 0], [50, 50]]);
    json!({
        "directHost": true, "subDir": "shop", "fit": "cover", "keepOriginal": true,
        "formats": {
            "avif": { "sizes": sizes, "settings": { "speed": 10 } }, "webp": { "sizes": sizes }, "jpg": { "sizes": sizes },
            "png": { "sizes": [[160, 0]] },
        }
    })
}

fn path(status: &Value, more: &str) -> String {
    format!("/manifest?job_id={}{more}", status["job_id"].as_str().expect("an id"))
}

/// Where a browser gets the file of this format and width, by what the status says.
fn url(status: &Value, format: &str, width: u32) -> String {
    let files = status["files"].as_array().expect("files");
    let is_it = |file: &&Value| file["format"] == format && file["width"] == width && file["kind"] == "variant";
    let file = files.iter().find(is_it).expect("a file");
    file["stored"][0]["url"].as_str().expect("an address").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_has_the_files_their_addresses_and_the_picture_of_them() {
    let app = TestApp::start_with(&[PUBLIC_URL]).await;
    let picture = jpeg(400, 300, 1);
    let mut status = app.done("me", job(), "a.jpg", picture.clone()).await;
    let manifest = app.get_json(&path(&status, "")).await;
    assert_eq!(
        (&manifest["hash"], &manifest["job_id"], &manifest["state"]),
        (&status["hash"], &status["job_id"], &json!("completed"))
    );
    let source = &manifest["source"];
    assert_eq!(
        source,
        &json!({
            "format": "jpeg", "width": 400, "height": 300, "bytes": picture.len(),
            "sha256": pixerve::job::ContentHash::of(&picture).to_string(), "animated": false, "alpha": false
        })
    );
    assert_eq!(manifest["files"], status["files"]);
    assert_eq!(manifest["placeholder"], status["placeholder"]);
    for file in status["files"].as_array().expect("files") {
        let stored = &file["stored"][0];
        let name = file["name"].as_str().expect("a name");
        assert_eq!(stored["url"], format!("{BASE}/files/shop/{name}"), "{file}");
    }
    let srcset = |format: &str| format!("{} 160w, {} 40w", url(&status, format, 160), url(&status, format, 40));
    assert_eq!(
        manifest["picture"],
        json!({
            "sources": [
                { "type": "image/avif", "srcset": srcset("avif") },
                { "type": "image/webp", "srcset": srcset("webp") },
            ],
            "img": { "src": url(&status, "jpg", 160), "srcset": srcset("jpg"), "width": 160, "height": 120 }
        })
    );
    // By its hash it is the same.
    let by_hash = format!("/manifest?hash={}", status["hash"].as_str().expect("a hash"));
    assert_eq!(app.get_json(&by_hash).await, manifest);
    // The record says where it is, too.
    let record = app.get_json(&format!("/success?job_id={}", status["job_id"].as_str().expect("an id"))).await;
    assert_eq!(record["files"], status["files"].take());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_is_text_in_which_nothing_that_is_given_is_more_than_text() {
    let app = TestApp::start_with(&[PUBLIC_URL]).await;
    let one = json!({ "directHost": true, "formats": { "webp": { "sizes": [[40]] }, "png": { "sizes": [[40]] } } });
    let status = app.done("me", one, "a.jpg", jpeg(400, 300, 1)).await;
    let query = "&as=html&sizes=50vw&alt=%22%3E%3Cscript%3E%26&class=a+b&unknown=1";
    let answer = app.get(&path(&status, query)).await;
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let (webp, png) = (url(&status, "webp", 40), url(&status, "png", 40));
    let expected = format!(
        "<picture><source type=\"image/webp\" srcset=\"{webp} 40w\" sizes=\"50vw\"><img src=\"{png}\" sizes=\"50vw\" \
         alt=\"&quot;&gt;&lt;script&gt;&amp;\" class=\"a b\" width=\"40\" height=\"30\" loading=\"lazy\" decoding=\"async\"></picture>"
    );
    assert_eq!(answer.text().await.expect("text"), expected);
    let plain = app.get(&path(&status, "&as=html")).await.text().await.expect("text");
    assert!(plain.contains(" alt=\"\"") && !plain.contains("class") && !plain.contains("sizes"), "{plain}");
    assert_problem(app.get(&path(&status, "&as=xml")).await, 400, "bad_parameter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_there_is_no_picture() {
    let app = TestApp::start().await;
    let status = app.done("me", small_job(), "a.jpg", jpeg(60, 40, 1)).await;
    let manifest = app.get_json(&path(&status, "")).await;
    assert_eq!((&manifest["state"], &manifest["picture"]), (&json!("completed"), &Value::Null));
    assert_eq!(status["files"][0]["stored"][0].get("url"), None);
    assert_problem(app.get(&path(&status, "&as=html")).await, 404, "no_picture").await;
    assert_problem(app.get("/manifest?hash=nothing").await, 404, "not_found").await;
    assert_problem(app.get("/manifest").await, 400, "bad_request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_jobs_manifest_is_kept_by_no_cache_and_an_ended_ones_for_a_minute() {
    let app = TestApp::start_with(&[PUBLIC_URL]).await;
    let s3 = app.register(dead_store()).await;
    let lasting = json!({ "directHost": true, "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[8]] } } });
    let live = app.accepted("me", lasting, "a.jpg", jpeg(60, 40, 1)).await;
    app.wait_for(&live, "to store a file here", |status| status["files"][0]["stored"][0].is_object()).await;
    let answer = app.get(&path(&live, "")).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let manifest: Value = answer.json().await.expect("JSON");
    assert_eq!((manifest["files"].as_array().map(Vec::len), &manifest["picture"]), (Some(1), &Value::Null));
    assert_problem(app.get(&path(&live, "&as=html")).await, 404, "no_picture").await;

    let status = app.done("me", small_job(), "b.jpg", jpeg(60, 40, 2)).await;
    let answer = app.get(&path(&status, "")).await;
    assert_eq!(answer.headers()["cache-control"], "public, max-age=60");
    let etag = answer.headers()["etag"].clone();
    let known =
        app.request(Method::GET, &path(&status, "")).header("if-none-match", &etag).send().await.expect("an answer");
    assert_eq!((known.status(), &known.headers()["etag"]), (StatusCode::NOT_MODIFIED, &etag));
    assert_eq!(known.headers()["cache-control"], "public, max-age=60");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_says_where_browsers_get_the_files() {
    let app = TestApp::start_with(&[PUBLIC_URL]).await;
    let receiver = Receiver::start().await;
    let mut job = small_job();
    job["completionCallback"] = receiver.url.clone().into();
    let status = app.done("me", job, "a.jpg", jpeg(60, 40, 1)).await;
    let told = receiver.call().await.body;
    assert_eq!((&told["files"], &told["placeholder"]), (&status["files"], &status["placeholder"]));
    assert!(status["files"][0]["stored"][0]["url"].as_str().is_some_and(|url| url.starts_with(BASE)), "{status}");
}

#[cfg(all(feature = "s3", feature = "gcs"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_stores_files_are_where_its_registration_says_and_stay_there() {
    let app = TestApp::start().await;
    let s3 = crate::harness::stores::s3().await;
    s3.create_bucket("pictures");
    let mut registration = s3.registration("pictures");
    registration["prefix"] = "shop/eu".into();
    registration["public_url"] = "https://cdn.example/pictures/".into();
    let key = app.register(registration.clone()).await;
    let listed = app.admin(Method::GET, "/register", None).await.text().await.expect("text");
    assert!(listed.contains("\"public_url\":\"https://cdn.example/pictures\""), "{listed}");
    let job = json!({ "storageKeys": { "s3": key }, "formats": { "webp": { "sizes": [[40, 0]] } } });
    let status = app.done("me", job, "a.jpg", jpeg(400, 300, 1)).await;
    let name = status["files"][0]["name"].as_str().expect("a name");
    let expected = format!("https://cdn.example/pictures/shop/eu/{name}");
    assert_eq!(status["files"][0]["stored"][0]["url"], expected);
    let manifest = app.get_json(&path(&status, "")).await;
    let img = json!({ "src": expected, "width": 40, "height": 30 });
    assert_eq!(manifest["picture"]["img"], img, "without a JPEG or PNG the last source's");
    // What has been told stays true: objects don't move when a registration changes.
    registration["public_url"] = "https://other.example".into();
    let changed = app.admin(Method::PUT, &format!("/register?access_key={key}"), Some(registration.clone())).await;
    assert_eq!(changed.status(), StatusCode::OK);
    assert_eq!(app.get_json(&path(&status, "")).await["picture"]["img"], img);
    for bad in [json!("cdn.example"), json!("ftp://cdn.example"), json!("https://a/?b"), json!(7)] {
        registration["public_url"] = bad;
        let refused = app.admin(Method::POST, "/register", Some(registration.clone())).await;
        let problem = assert_problem(refused, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], "/public_url", "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_is_made_of_the_whole_upright_picture_unless_the_job_says_otherwise() {
    let app = TestApp::start().await;
    // Left half red, right half blue; whatever is cut out of it.
    let halves =
        ::image::RgbImage::from_fn(200, 100, |x, _| ::image::Rgb(if x < 100 { [255, 0, 0] } else { [0, 0, 255] }));
    let mut png = std::io::Cursor::new(Vec::new());
    halves.write_to(&mut png, ::image::ImageFormat::Png).expect("it is encoded");
    let png = png.into_inner();
    let cut = json!({
        "directHost": true, "fit": "cover", "formats": { "png": { "sizes": [[20, 100]] }, "webp": { "sizes": [[10, 100]] } }
    });
    let status = app.done("me", cut.clone(), "a.png", png.clone()).await;
    let placeholder = &status["placeholder"];
    assert!(["#7f007f", "#800080"].contains(&placeholder["color"].as_str().expect("a colour")), "{placeholder}");
    let hash = BASE64_STANDARD.decode(placeholder["thumbhash"].as_str().expect("a hash")).expect("padded base64");
    let (width, height, pixels) = thumbhash::thumb_hash_to_rgba(&hash).expect("a picture");
    assert!(width > height, "{width} x {height}");
    let at = |x: usize| &pixels[(height / 2 * width + x) * 4..][..3];
    let (left, right) = (at(width / 8), at(width - width / 8));
    assert!(left[0] > 150 && left[2] < 100 && right[0] < 100 && right[2] > 150, "{left:?} {right:?}");

    let mut frames = Vec::new();
    let mut gif = ::image::codecs::gif::GifEncoder::new(&mut frames);
    for shade in [0, 255] {
        gif.encode_frame(::image::Frame::new(::image::RgbaImage::from_pixel(20, 10, [shade, 0, 0, 255].into())))
            .expect("a frame");
    }
    drop(gif);
    let moving = app.done("me", cut.clone(), "a.gif", frames).await;
    let source = &app.get_json(&path(&moving, "")).await["source"];
    assert_eq!((&source["format"], &source["animated"]), (&json!("gif"), &json!(true)), "{source}");

    let mut without = cut;
    without["placeholder"] = json!(false);
    let status = app.done("me", without, "b.png", png).await;
    assert_eq!((&status["state"], status.get("placeholder")), (&json!("completed"), None));
    assert_eq!(app.get_json(&path(&status, "")).await.get("placeholder"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_fills_the_element_with_what_suits_its_width_and_density() {
    let Some(browser) = Browser::find() else { return };
    let home = Home::new(&[]);
    let base = format!("http://{}", home.addr);
    let server = home.start_with(&[("PIXERVE_SERVER_PUBLIC_URL", &base)]).await;
    let sizes = json!([[320, 0], [640, 0], [1280, 0]]);
    let job = json!({ "directHost": true, "formats": { "webp": { "sizes": sizes }, "jpg": { "sizes": sizes } } });
    let status = server.done("me", job, "a.jpg", jpeg(1600, 1200, 1)).await;
    let element = server.get(&path(&status, "&as=html&sizes=100vw&alt=A%20picture")).await.text().await.expect("text");
    let views = [(320, 1), (640, 1), (1280, 1), (320, 2), (640, 2)];
    let order = json!({
        "element": element,
        "thumbhash": status["placeholder"]["thumbhash"],
        "views": views.map(|(width, density)| json!({ "width": width, "density": density })),
    });
    let seen = browser.drive(include_str!("picture.mjs"), order).await;
    let widths = [320, 640, 1280, 640, 1280];
    assert_eq!(seen["shown"], json!(widths.map(|width| url(&status, "webp", width))), "{element}");
    // Drawn by the library that pages use, it looks as it does to ours.
    let hash = BASE64_STANDARD.decode(status["placeholder"]["thumbhash"].as_str().expect("a hash")).expect("base64");
    let (width, height, pixels) = thumbhash::thumb_hash_to_rgba(&hash).expect("a picture");
    assert_eq!((&seen["drawn"]["width"], &seen["drawn"]["height"]), (&json!(width), &json!(height)));
    let drawn: Vec<u8> = serde_json::from_value(seen["drawn"]["pixels"].clone()).expect("pixels");
    assert!(drawn.iter().zip(&pixels).all(|(theirs, ours)| theirs.abs_diff(*ours) <= 2), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_known_whether_something_shows_through_an_original() {
    use ::image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, RgbImage, RgbaImage};

    let app = TestApp::start().await;
    let pictures = [
        (DynamicImage::from(RgbImage::new(8, 6)), ImageFormat::Png, false),
        (RgbaImage::new(8, 6).into(), ImageFormat::Png, true),
        (GrayImage::new(8, 6).into(), ImageFormat::Png, false),
        (GrayAlphaImage::new(8, 6).into(), ImageFormat::Png, true),
        (RgbImage::new(8, 6).into(), ImageFormat::WebP, false),
        (RgbaImage::new(8, 6).into(), ImageFormat::WebP, true),
        (RgbImage::new(8, 6).into(), ImageFormat::Tiff, false),
        (RgbaImage::new(8, 6).into(), ImageFormat::Tiff, true),
        (RgbImage::new(8, 6).into(), ImageFormat::Jpeg, false),
    ];
    for (picture, format, has_alpha) in pictures {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("it is encoded");
        let status = app.done("me", small_job(), "a", bytes.into_inner()).await;
        let manifest = app.get_json(&path(&status, "")).await;
        assert_eq!(manifest["source"]["alpha"], has_alpha, "{format:?}: {manifest}");
    }
}
