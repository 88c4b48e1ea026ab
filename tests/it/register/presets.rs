//! Presets beside users and stores.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pixerve::job::{Preset, PresetName};
use pixerve::register::{PresetFiles, Presets, RegisterError};

use super::{CANARY, open, put, try_open};
use crate::harness::app::files_below;

fn name(text: &str) -> PresetName {
    PresetName::parse(text).expect("a name")
}

fn preset(text: &str) -> Preset {
    Preset::parse(text.as_bytes()).expect("a preset")
}

fn presets(data: &Path) -> Presets {
    Presets::new(PresetFiles::default(), Arc::new(open(data)))
}

#[tokio::test]
async fn what_was_put_is_there_after_a_restart_and_sealed_on_the_disk() {
    let data = tempfile::tempdir().expect("a directory");
    let text = format!("{{\"subDir\": \"{CANARY}\"}}\n");
    assert!(presets(data.path()).put(name(CANARY), preset(&text), |before| before.is_none()).await.expect("put"));
    for file in files_below(data.path()) {
        let bytes = std::fs::read(data.path().join(&file)).expect("read");
        let seen = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!seen, "{file}");
    }
    let opened = presets(data.path());
    assert_eq!(opened.find(&name(CANARY)).expect("kept").text(), text);
    opened.delete(name(CANARY), |before| before.is_some()).await.expect("deleted");
    let error = opened.delete(name(CANARY), |_| true).await.expect_err("gone");
    assert!(matches!(error, RegisterError::UnknownPreset), "{error}");
    drop(opened);
    assert!(presets(data.path()).names().is_empty());
}

#[tokio::test]
async fn a_register_of_presets_alone_knows_its_keys_and_is_sealed_anew_with_the_newest() {
    let data = tempfile::tempdir().expect("a directory");
    let keys = data.path().join("vault.key");
    presets(data.path()).put(name("avatar"), preset("{}"), |_| true).await.expect("put");
    let older = std::fs::read_to_string(&keys).expect("a key");
    let newer = STANDARD.encode([7; 32]);
    put(&keys, format!("{newer}\n"));
    let error = try_open(data.path()).expect_err("other keys");
    assert!(matches!(error, RegisterError::WrongKeys { records: 1, .. }), "{error}");
    // The last one seals.
    put(&keys, format!("{}\n{newer}\n", older.trim_end()));
    drop(open(data.path()));
    put(&keys, format!("{newer}\n"));
    assert_eq!(presets(data.path()).find(&name("avatar")).expect("kept").text(), "{}");
}
