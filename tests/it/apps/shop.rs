//! The shop: a seller gives products photos, in Chromium.

use serde_json::{Value, json};

use super::{Workshop, node_modules};
use crate::harness::browser::Browser;
use crate::harness::picture::jpeg;

#[tokio::test(flavor = "multi_thread")]
async fn a_seller_gives_a_product_a_photo_in_the_shop_and_then_another() {
    let (Some(browser), Some(libraries)) = (Browser::find(), node_modules()) else { return };
    let workshop = Workshop::open().await;
    workshop.install(&libraries);
    workshop.put("shop.mjs", include_str!("shop.mjs"));
    let photos = [1, 2].map(|seed| workshop.put(&format!("photo {seed}.jpg"), jpeg(900, 600, seed)));
    let no_photo = workshop.put("no photo.jpg", "nothing");
    let mut node = workshop.run("node");
    node.arg("shop.mjs");
    let _shop = workshop.serve(node).await;
    let order = json!({
        "shop": format!("http://localhost:{}", workshop.page.port()), "base": workshop.base(), "photos": photos, "no_photo": no_photo,
    });
    let seen = browser.drive(include_str!("shop_visit.mjs"), order).await;

    assert_eq!(seen["before"], "No photo yet.", "{seen}");
    assert!(seen["refused"].as_str().is_some_and(|told| told.contains("not an image")), "{seen}");
    let [first, second] = ["first", "second"].map(|which| &seen[which]);
    for photo in [first, second] {
        // What the page chose is a WebP of the server's, which the browser could draw.
        assert_eq!((&photo["natural"], &photo["type"]), (&json!([800, 533]), &json!("image/webp")), "{seen}");
        assert!(photo["address"].as_str().is_some_and(|at| at.starts_with(&workshop.base())), "{seen}");
    }
    assert_ne!(first["address"], second["address"], "{seen}");
    assert_eq!(seen["errors"], json!([]), "{seen}");
    let delivered = |status: &Value| status["callback"]["state"] == "delivered";
    let of_second = json!({ "status_url": format!("/status?hash={}", seen["hash"].as_str().expect("a hash")) });
    workshop.server.wait_for(&of_second, "to be told of", delivered).await;
}
