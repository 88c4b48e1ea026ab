//! The README, held to what it says: every command of its tour is run as it stands there, and every setting is named.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pixerve::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::app::PATIENCE;
use crate::harness::picture::jpeg;

const README: &str = include_str!("../../README.md");
const ENV_EXAMPLE: &str = include_str!("../../.env.example");
/// The one line of the tour that is not run as it stands.
const ADDRESS_LINE: &str = "PIXERVE=http://localhost:8080\n";
/// Divides what the tour's sections say.
const MARK: &str = "@@@ ";

#[test]
fn every_command_of_the_tour_does_what_the_readme_says() {
    let server = Server::start();
    let said = server.tour();
    let answers = |section: &str| -> Vec<Value> {
        let lines = said[section].lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
    };

    let [health, version] = &answers("Is it well?")[..] else { panic!("{said:#?}") };
    assert_eq!(health["status"], "healthy");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));

    let [accepted] = &answers("Upload")[..] else { panic!("{said:#?}") };
    let names = strings(&accepted["expected_files"]);
    assert_eq!(names.len(), 6);
    let [status] = &answers("Wait")[..] else { panic!("{said:#?}") };
    assert_eq!((&status["state"], &status["error"]), (&json!("completed"), &Value::Null));
    assert_eq!(status["progress"], json!({ "done": 6, "total": 6 }));

    let sizes: Vec<_> = names.iter().map(|name| size(&server.dir().join("variants").join(name))).collect();
    assert_eq!(sizes, [(800, 533), (800, 533), (400, 267), (800, 600), (200, 200), (1200, 800)], "{names:?}");
    let fetched = &said["Fetch"];
    for (field, times) in [("content-type: image/avif", 1), ("content-type: image/webp", 2), ("etag: \"", 6)] {
        assert_eq!(fetched.matches(field).count(), times, "{field} in {fetched}");
    }

    let [success, failures] = &answers("Ask later")[..] else { panic!("{said:#?}") };
    assert_eq!((&success["status"], &success["file_count"]), (&json!("success"), &json!(6)));
    assert_eq!(success, failures, "both tell the state the job is really in");

    let [user, theirs] = &answers("A client of its own")[..] else { panic!("{said:#?}") };
    assert_eq!(user["algorithm"], "HS256");
    assert_ne!(theirs["hash"], accepted["hash"], "the same bytes of another owner are another job");

    let [completed, failed, registered] = &answers("What an admin sees")[..] else { panic!("{said:#?}") };
    let hashes: Vec<_> = completed["success_records"].as_array().expect("records").iter().map(|r| &r["hash"]).collect();
    assert_eq!(hashes, [&theirs["hash"], &accepted["hash"]]);
    assert_eq!(failed["count"], 0);
    assert_eq!(registered["registrations"][0]["access_key"], user["access_key"]);
    assert!(!registered.to_string().contains(user["secret"].as_str().expect("a secret")));

    let [deregistered, refused, status] = &answers("A client less")[..] else { panic!("{said:#?}") };
    assert_eq!((deregistered, &refused["code"], status), (&json!(204), &json!("unauthorized"), &json!(401)));

    let [slow, twice, conflict, cancelled, status] = &answers("Twice, and never mind")[..] else { panic!("{said:#?}") };
    assert_eq!((conflict, &twice["code"]), (&json!(409), &json!("duplicate_job")));
    assert_eq!(twice["job_id"], slow["job_id"]);
    assert_eq!((cancelled, &status["state"]), (&json!(204), &json!("cancelled")));
}

#[test]
fn the_readme_names_every_setting_with_its_default_and_no_other() {
    let example = ENV_EXAMPLE.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let defaults: BTreeMap<&str, &str> = example.filter(|(name, _)| name.starts_with("PIXERVE_")).collect();
    let rows = README.lines().filter_map(|line| line.strip_prefix("| `PIXERVE_"));
    let named: BTreeMap<String, &str> = rows
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
            (format!("PIXERVE_{}", cells.next().expect("a name")), cells.next().expect("a default"))
        })
        .collect();
    let settings: Vec<_> = Config::setting_names().iter().map(|name| Config::variable_of(name)).collect();
    for variable in &settings {
        assert_eq!(named.get(variable), defaults.get(variable.as_str()), "{variable}");
    }
    assert_eq!(named.len(), settings.len(), "{named:?}");
}

#[test]
fn every_file_the_readme_and_the_architecture_page_name_is_there() {
    let pages = [("", README), ("src/", include_str!("../../src/ARCHITECTURE.md"))];
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
    let examples = ["src/encoder/jxl.rs", "src/writer/azure.rs"];
    let is_source = ["src/", "tests/", "config/", ".ci/"].iter().any(|top| word.starts_with(top))
        || Path::new(word).extension().is_some_and(|extension| extension == "rs");
    is_source && word.contains('/') && !word.contains(['*', '<', ' ', '{', ':']) && !examples.contains(&word)
}

fn strings(array: &Value) -> Vec<&str> {
    array.as_array().expect("an array").iter().map(|value| value.as_str().expect("a string")).collect()
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

/// The tour as one script that says which section it is in.
fn script(address: &str) -> String {
    let (_, tour) = README.split_once("<!-- tour:begin -->").expect("the tour begins");
    let (tour, _) = tour.split_once("<!-- tour:end -->").expect("the tour ends");
    assert_eq!(tour.matches(ADDRESS_LINE).count(), 1);
    let mut script = String::new();
    let mut in_code = false;
    for line in tour.lines() {
        match line {
            "```sh" => in_code = true,
            "```" => in_code = false,
            _ if in_code => script.extend([line, "\n"]),
            _ => {
                if let Some(section) = line.strip_prefix("### ") {
                    script.extend(["echo '", MARK, section, "'\n"]);
                }
            }
        }
    }
    script.replace(ADDRESS_LINE, &format!("PIXERVE={address}\n"))
}

/// `pixerve serve` in a directory of its own that looks like a checkout with a release build and a photo in it.
struct Server {
    process: Child,
    address: String,
    dir: TempDir,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let release = dir.path().join("target/release");
        fs::create_dir_all(&release).expect("made");
        symlink(env!("CARGO_BIN_EXE_pixerve"), release.join("pixerve")).expect("made");
        fs::write(dir.path().join("photo.jpg"), jpeg(1200, 800, 1)).expect("written");

        let mut process = Command::new(env!("CARGO_BIN_EXE_pixerve"))
            .arg("serve")
            .current_dir(dir.path())
            .env_clear()
            .env("PIXERVE_ADDR", "127.0.0.1:0")
            .env("PIXERVE_STORAGE_FREE_DISK_MIN", "0")
            .env("PIXERVE_LOG_FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut log = BufReader::new(process.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let address = log.find_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            (event["message"] == "listening").then(|| format!("http://{}", event["addr"].as_str().unwrap_or_default()))
        });
        // Read on, or the server would wait for a reader some day.
        std::thread::spawn(move || log.for_each(drop));
        Self { process, address: address.expect("it says where it listens"), dir }
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Takes the tour: what each section printed.
    fn tour(&self) -> BTreeMap<String, String> {
        let output = Command::new("timeout")
            .args([&PATIENCE.as_secs().to_string(), "bash", "-eu", "-c", &script(&self.address)])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .output()
            .expect("bash runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
        let sections = stdout.split(MARK).skip(1).filter_map(|section| section.split_once('\n'));
        sections.map(|(name, said)| (name.to_owned(), said.to_owned())).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has died already can't be killed, and has been noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
