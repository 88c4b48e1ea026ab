//! The README's pieces that show pictures, on pages in Chromium.

use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use super::{Workshop, node_modules};
use crate::harness::browser::Browser;

/// What `showing.mjs` puts on pages.
pub(super) const SHOWN: [&str; 9] = [
    "preset.sh",
    "list.mjs",
    "picture.mjs",
    "manifest.js",
    "image.html",
    "placeholder.html",
    "placeholder.js",
    "photo.css",
    "private.mjs",
];

const LEFT: [u8; 3] = [200, 40, 30];
const RIGHT: [u8; 3] = [30, 60, 190];

/// Of two colours, which a placeholder has too.
fn halves() -> Vec<u8> {
    let halves = RgbImage::from_fn(1600, 1200, |x, _| Rgb(if x < 800 { LEFT } else { RIGHT }));
    let mut png = Cursor::new(Vec::new());
    halves.write_to(&mut png, ImageFormat::Png).expect("it is encoded");
    png.into_inner()
}

/// The colours in the middle of the left half and of the right one.
fn colours(screenshot: &Value) -> [[u8; 3]; 2] {
    let png = BASE64_STANDARD.decode(screenshot.as_str().expect("a picture")).expect("base64");
    let seen = image::load_from_memory(&png).expect("a picture").to_rgb8();
    assert_eq!((seen.width(), seen.height()), (400, 300), "the place is kept free");
    [100, 300].map(|x| seen.get_pixel(x, 150).0)
}

fn is_near(seen: [u8; 3], expected: [u8; 3], by: u8) -> bool {
    seen.iter().zip(expected).all(|(seen, expected)| seen.abs_diff(expected) <= by)
}

/// The file that is stored at the end of this address.
fn file_at<'a>(job: &'a Value, address: &str) -> &'a Value {
    let is_it = |file: &&Value| address.ends_with(file["stored"][0]["location"].as_str().expect("a location"));
    job["files"].as_array().expect("files").iter().find(is_it).unwrap_or_else(|| panic!("{address} is none of {job}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_showing_a_picture_shows_what_suits_the_screen_once_and_a_placeholder_before() {
    let (Some(browser), Some(libraries)) = (Browser::find(), node_modules()) else { return };
    let workshop = Workshop::open_behind_a_gate().await;
    workshop.install(&libraries);
    workshop.install_thumbhash();
    workshop.run_piece("preset.sh");
    for name in SHOWN.iter().chain(&["token.mjs"]) {
        workshop.put(name, workshop.adapted(name));
    }
    let order = json!({
        "workshop": workshop.home.root(), "port": workshop.page.port(), "base": workshop.base(),
        "photo": workshop.put("photo.png", halves()),
    });
    let seen = browser.drive(include_str!("showing.mjs"), order).await;
    assert_eq!(seen["errors"], json!([]), "{seen}");

    let job = &seen["job"];
    for (way, widest) in [("list", 800), ("picture", 1600), ("manifest", 1600), ("image", 1600)] {
        let views = seen["ways"][way].as_array().expect("views");
        assert_eq!(views.len(), 6, "{way}");
        for view in views {
            let asked = view["asked"].as_array().expect("requests");
            assert_eq!((asked.len(), &asked[0]["status"]), (1, &json!(200)), "{way} loads one picture: {view}");
            let address = view["address"].as_str().expect("an address");
            assert!(address.ends_with(asked[0]["path"].as_str().expect("a path")), "{way}: {view}");
            // What was shown by the one address is said beside it.
            let location = if way == "image" { &asked[0]["location"] } else { &view["address"] };
            let file = file_at(job, location.as_str().expect("an address"));
            let wanted = view["wanted"].as_u64().expect("a width").min(widest);
            assert_eq!(file["width"], wanted, "{way}: {view}");
            let height = if way == "list" { wanted } else { wanted * 3 / 4 };
            assert_eq!(file["height"], height, "{way}: {view}");
            if way == "image" {
                assert!(address.ends_with(&format!("?w={wanted}")), "{view}");
            } else {
                assert_eq!(file["format"], "avif", "{way}: the first that the browser knows");
                assert_eq!(view["said"], "A \"lamp\" & <more>", "{way}");
            }
        }
    }

    // What stands in the picture's place: of one colour without a script, with one like the picture.
    let mean: [u8; 3] = [115, 50, 110];
    let [left, right] = colours(&seen["colour"]);
    assert!(left == right && is_near(left, mean, 3), "{left:?} {right:?}");
    for (what, by) in [("placeholder", 70), ("picture", 12)] {
        let [left, right] = colours(&seen[what]);
        assert!(is_near(left, LEFT, by) && is_near(right, RIGHT, by), "{what}: {left:?} {right:?}");
    }
    assert_eq!(seen["asked_again"], json!([]), "a picture whose name lasts");
    let drawn = seen["drawn_bytes"].as_u64().expect("a number");
    assert!((4_000..6_000).contains(&drawn), "README says 4 to 6 kB: {drawn}");

    // A private one.
    assert_eq!(seen["later"], json!([true, false]), "the same address for five minutes");
    let private = &seen["private"];
    assert_eq!((&private["width"], &private["without"]), (&json!(400), &json!(401)), "{private}");
    let asked = private["asked"].as_array().expect("requests");
    assert_eq!((asked.len(), &asked[0]["type"]), (1, &json!("image/webp")), "seen twice and loaded once: {private}");
}
