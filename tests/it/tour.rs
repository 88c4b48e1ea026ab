//! The README, held to what it says: every command of its tour is run as it stands there, and every setting is named.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use pixerve::config::Config;
use serde_json::{Value, json};

use crate::harness::app::WAIT_MAX;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;

const README: &str = include_str!("../../README.md");
const ENV_EXAMPLE: &str = include_str!("../../.env.example");
/// The one line of the tour that is not run as it stands.
const ADDRESS: &str = "=http://localhost:8080\n";
/// Divides what the tour's sections say.
const MARK: &str = "@@@ ";

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_tour_does_what_the_readme_says() {
    // With keys that its first start makes.
    let home = Home::new(&[("PIXERVE_JWT_SECRET", "")]);
    let _server = home.start().await;
    let said = run_part_of_readme(&home, "tour");
    let answers = |section: &str| -> Vec<Value> {
        let lines = said[section].lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
    };

    let [health] = &answers("Check health")[..] else { panic!("{said:#?}") };
    assert_eq!((&health["status"], &health["version"]), (&json!("healthy"), &json!(env!("CARGO_PKG_VERSION"))));

    let [accepted, status, fetched @ ..] = &answers("Upload and fetch")[..] else { panic!("{said:#?}") };
    let names = strings(accepted["expected_files"].as_array().expect("an array"));
    assert_eq!(names.len(), 6);
    assert_eq!((&status["state"], &status["error"]), (&json!("completed"), &Value::Null));
    assert_eq!(status["progress"], json!({ "done": 6, "total": 6 }));

    let sizes: Vec<_> = names.iter().map(|name| size(&home.root().join("variants").join(name))).collect();
    assert_eq!(sizes, [(800, 533), (800, 533), (400, 267), (800, 600), (200, 200), (1200, 800)], "{names:?}");
    let headers = strings(fetched);
    for (field, times) in [("content-type: image/avif", 1), ("content-type: image/webp", 2), ("etag: \"", 6)] {
        assert_eq!(headers.iter().filter(|line| line.starts_with(field)).count(), times, "{field} in {headers:?}");
    }

    let [user, theirs, registered] = &answers("Register a client")[..] else { panic!("{said:#?}") };
    assert_eq!(user["algorithm"], "HS256");
    assert_ne!(theirs["hash"], accepted["hash"], "the same bytes of another owner are another job");
    assert_eq!(registered["registrations"][0]["access_key"], user["access_key"]);
    assert!(!registered.to_string().contains(user["secret"].as_str().expect("a secret")));

    let [deregistered, refused, status] = &answers("Remove a client")[..] else { panic!("{said:#?}") };
    assert_eq!((deregistered, &refused["code"], status), (&json!(204), &json!("unauthorized"), &json!(401)));

    let [slow, twice, conflict, cancelled, status] = &answers("Duplicates and cancellation")[..] else {
        panic!("{said:#?}")
    };
    assert_eq!((conflict, &twice["code"]), (&json!(409), &json!("duplicate_job")));
    assert_eq!(twice["job_id"], slow["job_id"]);
    assert_eq!((cancelled, &status["state"]), (&json!(204), &json!("cancelled")));
}

#[test]
fn the_readme_says_of_every_setting_what_env_example_says() {
    let (mut rows, mut words) = (Vec::new(), Vec::new());
    for line in ENV_EXAMPLE.lines() {
        match line.strip_prefix('#') {
            Some(setting) if setting.starts_with("PIXERVE_") => {
                let (name, default) = setting.split_once('=').expect("a variable");
                let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
                rows.push(format!("| `{name}` | {default} | {} |", words.join(" ")));
                words.clear();
            }
            Some(more) => words.push(more.trim()),
            None => words.clear(),
        }
    }
    assert_eq!(rows.len(), Config::setting_names().len());
    let shown: Vec<_> = README.lines().filter(|line| line.starts_with("| `PIXERVE_")).collect();
    assert_eq!(shown, rows);
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let pages = [
        ("", README),
        ("", include_str!("../../CONTRIBUTING.md")),
        ("", include_str!("../../SECURITY.md")),
        ("src/", include_str!("../../src/ARCHITECTURE.md")),
        ("tests/bench/", include_str!("../bench/README.md")),
    ];
    let mut seen = 0;
    for (below, page) in pages {
        for path in page.split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            assert!([root.join(path), root.join(below).join(path)].iter().any(|path| path.exists()), "{path}");
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} paths were found: is the way they are written another now?");
}

/// A file or directory of the sources, by the look of it; those that a reader is to add, or that a server makes, are not.
fn is_path(word: &str) -> bool {
    let examples =
        ["src/encoder/jxl.rs", "src/pipeline/inspect/jp2.rs", "src/pipeline/decode/jp2.rs", "src/writer/azure/"];
    let is_source = ["src/", "tests/", "config/", ".ci/"].iter().any(|top| word.starts_with(top));
    is_source && !word.contains(['*', '<', ' ', '{', ':']) && !examples.contains(&word)
}

fn strings<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
    values.into_iter().map(|value| value.as_str().expect("a string")).collect()
}

/// The dimensions of a picture that can be decoded.
fn size(path: &Path) -> (u32, u32) {
    let bytes = fs::read(path).expect("the tour has fetched it");
    if path.extension().is_some_and(|extension| extension == "avif") {
        let avif = avif_parse::read_avif(&mut &*bytes).expect("an AVIF");
        let header = avif.primary_item_metadata().expect("an AV1 header");
        return (header.max_frame_width.get(), header.max_frame_height.get());
    }
    let picture = image::load_from_memory(&bytes).expect("a picture");
    (picture.width(), picture.height())
}

/// A part of the README as one script that says which section it is in.
fn script(part: &str, address: SocketAddr) -> String {
    let (_, text) = README.split_once(&format!("<!-- {part}:begin -->")).expect("it begins");
    let (text, _) = text.split_once(&format!("<!-- {part}:end -->")).expect("it ends");
    assert_eq!(text.matches(ADDRESS).count(), 1);
    let mut script = vec![format!("echo '{MARK}{part}'")];
    let mut in_code = false;
    for line in text.lines() {
        match line {
            "```sh" => in_code = true,
            "```" => in_code = false,
            _ if in_code => script.push(line.to_owned()),
            _ => script.extend(line.strip_prefix("### ").map(|section| format!("echo '{MARK}{section}'"))),
        }
    }
    script.join("\n").replace(ADDRESS, &format!("=http://{address}\n"))
}

/// Runs the commands of a part of the README in a directory that looks like a checkout with a release build and a photo: what
/// each section printed.
#[expect(clippy::disallowed_methods, reason = "durability is not what is tested, and PATH is no setting")]
pub(crate) fn run_part_of_readme(home: &Home, part: &str) -> BTreeMap<String, String> {
    let release = home.root().join("target/release");
    fs::create_dir_all(&release).expect("made");
    symlink(env!("CARGO_BIN_EXE_pixerve"), release.join("pixerve")).expect("made");
    fs::write(home.root().join("photo.jpg"), jpeg(1200, 800, 1)).expect("written");

    let output = Command::new("timeout")
        .args([&WAIT_MAX.as_secs().to_string(), "bash", "-eu", "-c", &script(part, home.addr)])
        .current_dir(home.root())
        .env_clear()
        .env("PATH", std::env::var("PATH").expect("a PATH"))
        .output()
        .expect("bash runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}\n{}", output.status, home.terminal());
    let sections = stdout.split(MARK).skip(1).filter_map(|section| section.split_once('\n'));
    sections.map(|(name, said)| (name.to_owned(), said.to_owned())).collect()
}
