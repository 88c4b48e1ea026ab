//! `pixerve keys`: what every node is given.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use pixerve::auth::{AuthSettings, Authenticator, KeyRing};
use pixerve::clock::{Clock, System};
use pixerve::register::Sealer;

fn pixerve(directory: &Path, arguments: &[&str], settings: &HashMap<String, String>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixerve"));
    command.args(arguments).current_dir(directory).env_clear().envs(settings).output().expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn the_command_makes_both_files_once_and_prints_the_settings_that_take_them() {
    let [dir, elsewhere] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let made = pixerve(dir.path(), &["keys"], &HashMap::new());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let settings: HashMap<_, _> = text(&made.stdout)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once('=').expect("a setting"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut names: Vec<_> = settings.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["PIXERVE_JWT_FILE", "PIXERVE_VAULT_KEY_FILE"]);
    Sealer::open_existing(settings["PIXERVE_VAULT_KEY_FILE"].as_ref()).expect("sealing keys");

    // With these settings any node signs what every other takes.
    let signed = pixerve(elsewhere.path(), &["token", "--sub", "me"], &settings);
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    let keys = KeyRing::load_existing(settings["PIXERVE_JWT_FILE"].as_ref(), None).expect("signing keys");
    let authenticator = Authenticator::new(keys, AuthSettings::default());
    let register = super::open(elsewhere.path());
    let verified = authenticator.verify(text(&signed.stdout).trim(), &register, System::new().now());
    assert_eq!(verified.expect("a good token").owner.sub, "me");

    let before = std::fs::read(&settings["PIXERVE_JWT_FILE"]).expect("read");
    let again = pixerve(dir.path(), &["keys"], &HashMap::new());
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("jwt.json is there already"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(&settings["PIXERVE_JWT_FILE"]).expect("read"), before);
    let other = pixerve(dir.path(), &["keys", "--dir", elsewhere.path().to_str().expect("UTF-8")], &HashMap::new());
    assert_eq!(other.status.code(), Some(1), "vault.key is there: {}", text(&other.stderr));
    assert!(!elsewhere.path().join("jwt.json").exists(), "neither is made");
}
