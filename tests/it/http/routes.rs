//! Every route is documented.

use crate::harness::app::TestApp;
use crate::harness::described::Described;

const ROUTER: &str = include_str!("../../../src/routes/mod.rs");
const README: &str = include_str!("../../../README.md");

#[tokio::test]
async fn every_route_is_in_the_readme() {
    let (_, documented) = README.split_once("\n## Routes\n").expect("the chapter about routes");
    let (documented, _) = documented.split_once("\n## ").expect("the next chapter");
    let app = TestApp::start().await;
    let routes = Described::of(&app).await.routes();
    assert!(routes.len() >= 10, "{routes:?}");
    for path in routes.keys() {
        // Up to its first parameter.
        let path = path.split('{').next().unwrap_or_default();
        let ends = |text: &str| text.starts_with(['`', '?', '"']) || path.ends_with('/');
        assert!(documented.split(path).skip(1).any(ends), "{path} is not in the README");
    }
}

#[test]
fn no_route_is_added_past_the_description() {
    let past = [".route(", ".route_service(", ".nest("].into_iter().find(|way| ROUTER.contains(way));
    assert_eq!(past, None, "add it by `.routes(routes!(handler))`: then it is described");
}
