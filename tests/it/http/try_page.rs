//! The page of `GET /`: a person's acts in a real browser, and what the routes behind it answer to whom.
//!
//! `PIXERVE_TEST_PICTURE=src/page/try.webp` has the page's picture written there, which the README shows.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use image::{DynamicImage, ImageFormat};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem};
use crate::harness::browser::Browser;
use crate::harness::fault_proxy::{Asked, Fault, FaultProxy};
use crate::harness::picture::{jpeg, photo};
use crate::harness::process::{Home, reserve_port};
use crate::harness::token::{Claims, now};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
/// A path at which the proxy is told what to lose.
const LOSE: &str = "/test/lose/";
/// Behind a picture: more than all that is between the browser and the proxy holds.
const PADDING_BYTES: usize = 24 << 20;
/// What passes of an upload that is cut.
const CUT_AFTER: usize = 40_000;
/// What is more than a name in a page, in markup and in a shell.
const HOSTILE_NAME: &str = "-\"><img src=x onerror=alert(1)>'$(touch pwned)`touch pwned`;type=x,&amp;.jpg";
const PICTURE_BYTES_MAX: usize = 150_000;

/// The proxy before the server loses what the browser's script tells it to.
async fn obedient_proxy(server: SocketAddr) -> FaultProxy {
    let proxy = FaultProxy::start(server).await;
    let lost = Arc::new(Mutex::new("nothing".to_owned()));
    proxy.script(move |asked: &Asked| {
        let mut lost = lost.lock().expect("not poisoned");
        if let Some(what) = asked.target.strip_prefix(LOSE) {
            what.clone_into(&mut lost);
            return Fault::Answer(StatusCode::NO_CONTENT, Vec::new(), String::new());
        }
        let is_for = |path: &str| asked.target.starts_with(path);
        match lost.as_str() {
            "uploads" if is_for("/upload") => Fault::ResetRequestAfter(CUT_AFTER),
            "pace" if is_for("/upload") => Fault::StallRequest,
            "jobs" if is_for("/events") || is_for("/status") => Fault::Reset,
            "streams" if is_for("/events") => Fault::Answer(StatusCode::SERVICE_UNAVAILABLE, Vec::new(), String::new()),
            _ => Fault::Pass,
        }
    });
    proxy
}

fn write(path: &Path, bytes: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(bytes)).expect("written");
}

fn tiff() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(photo(80, 60, 3)).write_to(&mut bytes, ImageFormat::Tiff).expect("encodes");
    bytes.into_inner()
}

/// What a shown variant is called, in which size it came, and beside what it stood.
fn shown(seen: &Value) -> Vec<(String, [u64; 2], String)> {
    let text = |value: &Value| value.as_str().expect("text").replace('\u{202f}', " ");
    let one = |shown: &Value| {
        assert_eq!(shown["besideIsShown"], json!(true), "{shown}");
        let sides = ["width", "height"].map(|side| shown[side].as_u64().expect("a number"));
        (text(&shown["name"]), sides, text(&shown["beside"]))
    };
    seen["shown"].as_array().expect("a list").iter().map(one).collect()
}

fn contains(seen: &Value, words: &[&str]) {
    let text = seen.as_str().unwrap_or_default();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {seen}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one browser for all acts")]
async fn a_person_drops_pastes_chooses_mends_retries_and_compares() {
    let Some(browser) = Browser::find() else { return };
    // The server is told where it is reached, before it starts.
    let addr = reserve_port();
    let proxy = obedient_proxy(addr).await;
    let settings = [("PIXERVE_ADDR", addr.to_string()), ("PIXERVE_SERVER_PUBLIC_URL", proxy.endpoint())];
    let app = TestApp::start_demo(&settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| files.path().join(name);
    write(&path("photo one.jpg"), &jpeg(1280, 960, 1));
    write(&path("large.jpg"), &[jpeg(640, 480, 2), vec![0; PADDING_BYTES]].concat());
    write(&path("scan.tif"), &tiff());
    write(&path("notes.jpg"), b"no picture at all");
    write(&path(HOSTILE_NAME), &jpeg(640, 480, 9));
    let own_job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[44]], "fit": "cover" } } });
    let picture = std::env::var_os("PIXERVE_TEST_PICTURE");
    let order = json!({
        "base": proxy.endpoint(),
        "photo": path("photo one.jpg"),
        "large": path("large.jpg"),
        "tiff": path("scan.tif"),
        "text": path("notes.jpg"),
        "hostile": path(HOSTILE_NAME),
        "token": Claims::of("alice").job(own_job.clone()).sign(),
        "expired": Claims::of("alice").job(own_job.clone()).with("exp", json!(now() - 60)).sign(),
        "picture": picture.is_some(),
    });
    let script = concat!(include_str!("scene.mjs"), include_str!("visit.mjs"), include_str!("try_page.mjs"));
    let seen = browser.drive(script, order).await;

    assert_eq!(seen["errors"], json!([]), "{seen}");
    assert_eq!((&seen["foreign"], &seen["violations"]), (&json!([]), &json!([])), "nothing from elsewhere");

    let drop = &seen["drop"];
    contains(&drop["chosen"], &["photo one.jpg", "1280", "960"]);
    let original = || "Original".to_owned();
    let variants: Vec<_> = ["AVIF", "WebP", "JPEG"]
        .into_iter()
        .flat_map(|format| {
            [[1280, 960], [800, 600], [400, 300]].map(|[w, h]| (format!("{format}, {w} × {h}"), [w, h], original()))
        })
        .collect();
    let as_said = shown(drop);
    assert_eq!(as_said.len(), 9, "{drop}");
    for (size, variant) in [1600, 800, 400].iter().cycle().zip(as_said) {
        assert!(variants.contains(&variant), "of {size}: {variant:?}");
    }
    for row in drop["rows"].as_array().expect("rows") {
        contains(row, &["×", "%", "Copy URL", "Open"]);
    }
    let dragged = drop["dragged"].as_f64().expect("a number");
    assert!((dragged - 0.25).abs() < 0.02, "{dragged}");
    assert_eq!((&drop["zoomed"]["scale"], &drop["zoomed"]["movedBy"]), (&json!(4), &json!(-48)), "{drop}");
    let url = drop["copied"]["url"].as_str().expect("a URL");
    assert!(url.starts_with(&format!("{}/files/", proxy.endpoint())), "{url}");
    let first = app.ended(&drop["curl"]).await;
    assert_eq!(first["state"], "completed", "what was copied for a terminal does the same");
    let digests: Vec<_> = first["files"].as_array().expect("files").iter().map(|file| &file["sha256"]).collect();
    assert!(digests.contains(&&drop["copied"]["sha256"]), "{drop}");

    assert_embedded(&seen["embedded"], &proxy.endpoint());
    let hidden = &seen["hidden"];
    assert_eq!((&hidden["job"]["private"], &hidden["job"]["unique"]), (&json!(true), &json!(true)), "{hidden}");
    contains(&hidden["rows"][0], &["/private/"]);
    assert!(!hidden["rows"].to_string().contains("Copy URL"), "{hidden}");
    contains(&hidden["none"], &["read claim"]);
    assert_eq!(hidden["hasAddress"], json!(false), "{hidden}");
    contains(&hidden["next"]["markup"], &["_71_71_.webp"]);
    assert_eq!(hidden["next"]["none"], Value::Null, "{hidden}");
    assert!(hidden["thumbhash"].as_str().is_some_and(|hash| hash.len() >= 20), "{hidden}");

    contains(&seen["paste"]["chosen"], &[".png", "60", "40"]);
    let pasted = shown(&seen["paste"]);
    assert_eq!(pasted.iter().map(|(_, sides, _)| *sides).collect::<Vec<_>>(), [[20, 13]; 3]);

    let keyboard = &seen["keyboard"];
    let expected = json!({ "formats": { "webp": { "settings": { "quality": 70 } }, "jpg": {} }, "sizes": [[48], [24, 24]], "directHost": true });
    assert_eq!(keyboard["job"], expected);
    assert_eq!(keyboard["afterStart"], "course-title", "what happens is read out");
    assert_eq!((&keyboard["split"], &keyboard["unlabelled"]), (&json!("55 %"), &json!([])), "{keyboard}");
    contains(&keyboard["announced"], &["4 files in"]);
    assert_eq!(keyboard["rows"].as_array().map(Vec::len), Some(4), "{keyboard}");

    let refused = &seen["refused"];
    assert_eq!(refused["title"], "Some fields are invalid");
    contains(&refused["said"], &["/job/colour", "/job/sizes/0/0", "/job/formats/webp/settings/quality"]);
    contains(&refused["quality"], &["/job/formats/webp/settings/quality", "must be a whole number", "101"]);
    contains(&refused["sizes"], &["/job/sizes/0/0", "70000"]);
    contains(&refused["json"], &["/job/colour", "unknown field", "line 3"]);
    assert_eq!(refused["invalid"], json!(["quality-webp", "sizes", "json"]));
    assert_eq!((&refused["focused"], &refused["selected"]), (&json!("quality-webp"), &json!("\"colour\": \"red\"")));
    assert_eq!((&refused["uploads"], &refused["marksLeft"]), (&json!(0), &json!(0)), "{refused}");
    contains(&refused["mended"][0], &["WebP", "32"]);
    contains(&refused["noPicture"]["detail"], &["image"]);

    let lost = &seen["lost"];
    assert_eq!(lost["upload"]["title"], "The connection was lost");
    contains(&lost["upload"]["note"], &["had been sent", "still here"]);
    assert_eq!(lost["upload"]["focused"], "again", "{lost}");
    contains(&lost["job"]["note"], &["goes on without this page"]);
    assert_eq!((lost["choices"].as_u64(), shown(lost).len()), (Some(0), 3), "{lost}");

    assert_eq!(seen["polled"]["rows"].as_array().map(Vec::len), Some(3), "{seen}");
    assert!(proxy.asked().iter().any(|asked| asked.target.starts_with("/status?")), "it asks where it can't listen");

    let followed = &seen["followed"];
    assert_eq!(
        followed["begin"],
        json!({ "formats": { "avif": {}, "webp": {}, "jpg": {} }, "sizes": [[1600], [800], [400]], "directHost": true })
    );
    let from_form = json!({ "formats": { "webp": {}, "jpg": { "settings": { "quality": 55 } }, "png": {} }, "sizes": [[300, 200], [100]], "directHost": true, "fit": "cover", "keepOriginal": true });
    assert_eq!(followed["fromForm"], from_form);
    let from_json = json!({ "format-avif": true, "format-webp": false, "format-jpg": true, "format-png": false, "quality-avif": "", "quality-webp": "", "quality-jpg": "61", "sizes": "640×0", "fit": "contain", "keep": false });
    assert_eq!(followed["fromJson"], from_json);
    let both = json!({ "directHost": true, "subDir": "kept/as-it-is", "formats": { "jpeg": { "settings": { "quality": 62, "speed": 3 }, "sizes": [[10]] }, "avif": {} }, "sizes": [[640, 0]], "fit": "contain", "background": "black" });
    assert_eq!(followed["both"], both, "what the form doesn't know stays");
    contains(&followed["broken"]["error"], &["not JSON"]);
    assert_eq!(followed["broken"]["form"]["quality-jpg"], "62", "the form stays as it was");
    assert_eq!(followed["refused"], "The job can’t be read");
    contains(&followed["badSizes"], &["wide"]);

    let token = &seen["token"];
    contains(&token["expired"], &["expired"]);
    contains(&token["noToken"], &["three parts"]);
    contains(&token["notSent"], &["token can’t be used"]);
    contains(&token["state"], &["alice", "until", "can’t be changed"]);
    assert_eq!((&token["job"], &token["isFixed"]), (&own_job, &json!(true)), "{token}");
    assert_eq!(shown(token), [("JPEG, 44 × 44".to_owned(), [44, 44], original())]);

    let unseen = &seen["unseen"];
    contains(&unseen["before"], &["can’t show TIFF"]);
    contains(&unseen["note"], &["largest variant"]);
    assert!(shown(unseen).iter().all(|(_, _, beside)| beside.contains("60 × 45")), "{unseen}");

    contains(&seen["cancelled"]["upload"], &["Upload cancelled"]);
    contains(&seen["cancelled"]["job"], &["Cancelled, with"]);

    if let Some(path) = picture {
        let screenshot = STANDARD.decode(drop["picture"].as_str().expect("a picture")).expect("base64");
        let job = json!({ "directHost": true, "formats": { "webp": { "settings": { "quality": 84 } } } });
        let made = app.done("readme", job, "page.png", screenshot).await;
        let bytes = app.file(made["files"][0]["stored"][0]["location"].as_str().expect("a location")).await;
        assert!(bytes.len() <= PICTURE_BYTES_MAX, "{} bytes", bytes.len());
        write(Path::new(&path), &bytes);
    }
}

/// Asserts what a person saw of a picture that is to be shown on a page of their own.
fn assert_embedded(seen: &Value, base: &str) {
    let manifest = &seen["manifest"];
    assert_eq!(
        (&manifest["state"], manifest["files"].as_array().map(Vec::len)),
        (&json!("completed"), Some(7)),
        "{seen}"
    );
    assert_eq!((&seen["job"]["keepOriginal"], &seen["job"]["manifest"]), (&json!(true), &json!(true)));
    let rows = seen["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 8, "{seen}");
    contains(&rows[6], &["Original", "Copy URL"]);
    contains(&rows[7], &["Manifest", "JSON", "Copy URL"]);

    // What stands in the picture's place is what the library of the server makes of the same bytes.
    let hash = seen["thumbhash"].as_str().expect("text");
    assert_eq!(
        (&manifest["placeholder"]["thumbhash"], &manifest["placeholder"]["color"]),
        (&json!(hash), &seen["color"])
    );
    let (width, height, expected) =
        thumbhash::thumb_hash_to_rgba(&STANDARD.decode(hash).expect("base64")).expect("a hash");
    for drawn in [&seen["awaited"], &seen["drawn"]] {
        assert_eq!(
            (&drawn["width"], &drawn["height"], &drawn["isShown"]),
            (&json!(width), &json!(height), &json!(true))
        );
        let rgba: Vec<u8> = serde_json::from_value(drawn["rgba"].clone()).expect("pixels");
        assert!(
            rgba.len() == expected.len()
                && rgba.iter().zip(&expected).all(|(ours, theirs)| ours.abs_diff(*theirs) <= 2)
        );
    }
    assert_eq!((&seen["placeholderIsLeft"], &seen["awaitedVariant"]), (&json!(false), &json!(true)), "{seen}");

    let id = manifest["job_id"].as_str().expect("an id");
    assert_eq!(seen["address"], format!("{base}/image/{id}"));
    assert_eq!(seen["types"], json!({ "image/avif,image/webp,*/*": "image/avif", "*/*": "image/jpeg" }));
    let markup = seen["markup"].as_str().expect("text");
    assert!(
        markup.starts_with("<picture><source type=\"image/avif\"") && markup.contains(" sizes=\"100vw\""),
        "{markup}"
    );
    assert!(!markup.contains("onerror=") && !markup.contains("pwned)"), "{markup}");
    assert!(seen["shown"].as_str().is_some_and(|src| src.contains("_300_300_.avif")), "{seen}");
    // The name is a name, everywhere.
    assert_eq!((&seen["dialogs"], &seen["injected"], &seen["hasRun"]), (&json!(0), &json!(0), &json!(false)));
    assert!(seen["curl"]["job_id"].is_string(), "{seen}");
    assert_eq!(seen["unlabelled"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_not_told_where_it_is_reached_says_so_in_the_place_of_markup() {
    let Some(browser) = Browser::find() else { return };
    let app = TestApp::start_demo(&[]).await;
    let files = tempfile::tempdir().expect("a temporary directory");
    let photo = files.path().join("photo.jpg");
    write(&photo, &jpeg(64, 48, 1));
    let order = json!({ "base": format!("http://{}", app.addr()), "photo": photo, "only": "unaddressed" });
    let script = concat!(include_str!("scene.mjs"), include_str!("visit.mjs"), include_str!("try_page.mjs"));
    let seen = browser.drive(script, order).await;
    contains(&seen["unaddressed"]["none"], &["PIXERVE_SERVER_PUBLIC_URL"]);
    contains(&seen["unaddressed"]["address"], &["/image/"]);
    assert_eq!(seen["errors"], json!([]));
}

#[tokio::test]
async fn the_page_is_for_browsers_where_it_is_wanted() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_PAGE", "true")]).await;
    let page = app.request(Method::GET, "/").header("accept", HTML).send().await.expect("an answer");
    assert_eq!(page.status(), 200);
    let header = |name: &str| page.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(header("content-security-policy").as_deref(), Some(POLICY));
    assert_eq!(header("content-type").as_deref(), Some("text/html; charset=utf-8"));
    for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("vary", "accept")]
    {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    for (path, kind) in [("/page/page.css", "text/css"), ("/page/try.js", "text/javascript")] {
        let loaded = app.get(path).await;
        assert_eq!(loaded.status(), 200, "{path}");
        assert!(loaded.headers()["content-type"].to_str().expect("text").starts_with(kind), "{path}");
        assert_eq!(loaded.headers()["content-security-policy"], POLICY);
        let etag = loaded.headers()["etag"].clone();
        let again = app.request(Method::GET, path).header("if-none-match", etag).send().await.expect("an answer");
        assert_eq!((again.status().as_u16(), again.headers().contains_key("content-type")), (304, false), "{path}");
    }

    // For everybody else all is as it was.
    assert_problem(app.get("/").await, 404, "not_found").await;
    let json = app.request(Method::GET, "/").header("accept", "application/json").send().await.expect("an answer");
    assert_eq!(json.headers()["vary"], "accept");
    assert_problem(json, 404, "not_found").await;
    assert_problem(app.get("/page/index.html").await, 404, "not_found").await;
    assert_problem(app.get("/demo-token").await, 404, "not_found").await;
}

#[tokio::test]
async fn without_the_setting_or_the_demo_there_is_no_page() {
    let app = TestApp::start().await;
    for path in ["/", "/page/try.js", "/page/page.css", "/demo-token"] {
        let asked = app.request(Method::GET, path).header("accept", HTML).send().await.expect("an answer");
        assert_problem(asked, 404, "not_found").await;
    }
}

#[test]
fn the_demo_names_the_page_first_and_then_the_curl_line() {
    let home = Home::new(&[]);
    let mut command = home.command(&["serve", "--demo"]);
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut said = Vec::new();
    for line in BufReader::new(server.stdout.take().expect("piped")).lines() {
        said.push(line.expect("text"));
        if said.last().is_some_and(|line| line.starts_with("curl ")) {
            break;
        }
    }
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let place = |wanted: &str| said.iter().position(|line| line.starts_with(wanted));
    let (page, curl) = (place(&format!("http://{}/", home.addr)), place("curl -F file=@photo.jpg"));
    assert!(page.is_some() && page < curl, "{said:#?}");
}

#[tokio::test]
async fn a_demo_token_is_good_for_an_hour_and_for_the_job_that_was_asked_for() {
    let app = TestApp::start_demo(&[]).await;
    let answer: Value = app.get_json("/demo-token").await;
    let claims = answer["token"].as_str().and_then(|token| token.split('.').nth(1)).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["exp"].as_u64().zip(claims["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(3600));
    assert_eq!((&claims["job"], &claims["sub"], claims.get("scope")), (&answer["job"], &json!("demo"), None));

    let ask = |job: &str| app.request(Method::GET, "/demo-token").query(&[("job", job)]).send();
    let job = json!({ "directHost": true, "formats": { "png": { "sizes": [[7]] } } });
    let response = ask(&job.to_string()).await.expect("an answer");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let answer: Value = response.json().await.expect("JSON");
    let token = answer["token"].as_str().expect("a token");
    let accepted: Value = app.upload(token, "a.jpg", jpeg(20, 10, 1)).await.json().await.expect("JSON");
    assert_eq!(app.ended(&accepted).await["files"][0]["width"], 7);

    let refused =
        assert_problem(ask(r#"{"directHost": true, "colour": 1}"#).await.expect("an answer"), 422, "invalid_fields")
            .await;
    assert_eq!(refused["errors"][0]["pointer"], "/job/colour");
    let store = json!({ "storageKeys": { "s3": "pxs_unknown" }, "formats": { "jpg": {} } });
    let refused = assert_problem(ask(&store.to_string()).await.expect("an answer"), 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/job/storageKeys/s3");
    let long = json!({
        "directHost": true, "formats": { "jpg": {} }, "callbackHeaders": { "x": "a".repeat(4000) },
        "completionCallback": format!("https://caller.example/{}", "a".repeat(2000)),
    });
    let refused = assert_problem(ask(&long.to_string()).await.expect("an answer"), 422, "invalid_fields").await;
    assert_eq!(refused["errors"][0]["pointer"], "/job");
    assert_problem(ask("{").await.expect("an answer"), 400, "bad_request").await;
}

#[tokio::test]
async fn a_demo_token_is_for_this_machine_alone() {
    let app = TestApp::start_demo(&[]).await;
    let own = format!("http://{}", app.addr());
    let as_page = app.request(Method::GET, "/demo-token").header("origin", &own).send().await.expect("an answer");
    assert_eq!(as_page.status(), 200);
    for (name, value) in [
        ("origin", "https://pixerve.example"),
        ("origin", "http://127.0.0.1:1"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("host", "pixerve.example"),
        ("host", "192.0.2.1"),
    ] {
        let asked = app.request(Method::GET, "/demo-token").header(name, value).send().await.expect("an answer");
        assert!(!asked.headers().contains_key("access-control-allow-origin"));
        assert_problem(asked, 403, "not_local").await;
    }
    // Rebound: the name means this machine, and is its page's own origin.
    let rebound =
        app.request(Method::GET, "/demo-token").header("host", "evil.example").header("origin", "http://evil.example");
    assert_problem(rebound.send().await.expect("an answer"), 403, "not_local").await;
}
