//! The Postman collection is held against the description: neither can say what the other doesn't.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::app::TestApp;
use crate::harness::described::Described;

const COLLECTION: &str = include_str!("../../../../Pixerve.postman_collection.json");

/// Requests that no route is for, and why they are there.
const PAST_EVERY_ROUTE: [(&str, &str); 4] = [
    ("Nothing there", "an address where nothing is"),
    ("Wrong method", "a method that the route doesn't have"),
    ("Upload with GET", "the same"),
    ("No writing", "the same"),
];
/// Routes that no request is for, and why.
const NOT_REQUESTED: [(&str, &str, &str); 0] = [];

/// What the collection's own variables stand for, where they are a part of a path.
const LOCATION: (&str, &str) = ("{{location}}", "files/postman/picture.jpg");

/// The name, the method and the path of every request.
fn requests(folder: &Value, found: &mut Vec<(String, String, String)>) {
    for item in folder["item"].as_array().into_iter().flatten() {
        if let Some(request) = item.get("request") {
            let url = request["url"].as_str().or(request["url"]["raw"].as_str()).expect("a URL");
            let path = url.strip_prefix("{{baseUrl}}").expect("a URL of the server").replace(LOCATION.0, LOCATION.1);
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            found.push((text(&item["name"]), text(&request["method"]), path));
        }
        requests(item, found);
    }
}

#[tokio::test]
async fn the_postman_collection_requests_every_route_and_nothing_else() {
    let app = TestApp::start().await;
    let described = Described::of(&app).await;
    let mut all = Vec::new();
    requests(&serde_json::from_str(COLLECTION).expect("JSON"), &mut all);
    assert!(all.len() > 50, "{}", all.len());

    let (mut requested, mut past) = (BTreeSet::new(), BTreeSet::new());
    let routes = described.routes();
    for (name, method, path) in &all {
        match described.template(path).filter(|template| routes[*template].contains(method)) {
            Some(template) => drop(requested.insert((method.clone(), template.to_owned()))),
            None => drop(past.insert(name.as_str())),
        }
    }
    assert_eq!(
        past,
        PAST_EVERY_ROUTE.into_iter().map(|(name, _)| name).collect(),
        "requests of the collection that no route is for"
    );
    let routes =
        routes.iter().flat_map(|(path, methods)| methods.iter().map(move |method| (method.clone(), path.clone())));
    let not_requested = NOT_REQUESTED.into_iter().map(|(method, path, _)| (method.to_owned(), path.to_owned()));
    let missing: Vec<_> = routes.filter(|route| !requested.contains(route)).collect();
    assert_eq!(missing, not_requested.collect::<Vec<_>>(), "routes that the collection doesn't request");
}
