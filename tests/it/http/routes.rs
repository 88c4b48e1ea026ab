//! Every route is documented, and tried by the Postman collection.

const SOURCES: [&str; 2] = [include_str!("../../../src/routes/mod.rs"), include_str!("../../../src/routes/files.rs")];
const README: &str = include_str!("../../../README.md");
const POSTMAN: &str = include_str!("../../../Pixerve.postman_collection.json");

/// The path of each route as the sources add it, up to its first parameter.
fn paths() -> Vec<&'static str> {
    let added = SOURCES.iter().flat_map(|source| source.split(".route(\"").skip(1));
    added.filter_map(|rest| rest.split(['"', '{']).next()).collect()
}

#[test]
fn every_route_is_in_the_readme_and_in_the_postman_collection() {
    let (_, documented) = README.split_once("\n## Routes\n").expect("the chapter about routes");
    let (documented, _) = documented.split_once("\n## ").expect("the next chapter");
    let paths = paths();
    assert!(paths.len() >= 10, "are routes added in another way now? {paths:?}");
    for path in paths {
        let ends = |text: &str| text.starts_with(['`', '?', '"']) || path.ends_with('/');
        assert!(documented.split(path).skip(1).any(ends), "{path} is not in the README");
        let tried = format!("{{{{baseUrl}}}}{path}");
        assert!(POSTMAN.split(&tried).skip(1).any(ends), "{path} is not in the Postman collection");
    }
}
