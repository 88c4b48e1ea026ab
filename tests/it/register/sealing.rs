//! The sealer and its key file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pixerve::clock::Timestamp;
use pixerve::job::{CallbackHeader, JobId, SealedText};
use pixerve::register::{Sealer, SealingKeysError, UnsealError};

use super::{CANARY, put};

fn put_private(path: &Path, content: &str) {
    put(path, content);
    set_mode(path, 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

fn key_line(fill: u8) -> String {
    STANDARD.encode([fill; 32])
}

fn headers() -> Vec<CallbackHeader> {
    let header = |name: &'static str, value: &str| CallbackHeader {
        name: http::HeaderName::from_static(name),
        value: value.to_owned().into(),
    };
    vec![header("authorization", CANARY), header("x-tenant", "äöü \"quoted\""), header("x-tenant", "twice")]
}

#[test]
fn what_is_sealed_comes_back_and_looks_different_every_time() {
    let data = tempfile::tempdir().expect("a directory");
    let sealer = Sealer::open(&data.path().join("vault.key")).expect("made");
    for plain in [b"".as_slice(), b"secret", &[0; 10_000]] {
        let a = sealer.seal("credential:a", plain).expect("sealed");
        let b = sealer.seal("credential:a", plain).expect("sealed");
        assert_ne!(a, b);
        assert_eq!(sealer.unseal("credential:a", &a).expect("unsealed").as_slice(), plain);
    }
}

#[test]
fn another_context_a_flipped_bit_or_a_cut_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let sealer = Sealer::open(&data.path().join("vault.key")).expect("made");
    let text = sealer.seal("credential:a", b"secret").expect("sealed");
    for context in ["credential:b", "credential:", "", "callback-headers:a"] {
        assert_eq!(sealer.unseal(context, &text), Err(UnsealError::Refused), "{context}");
    }
    let bytes = STANDARD.decode(&text.0).expect("base64");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = SealedText(STANDARD.encode(flipped));
        assert_eq!(sealer.unseal("credential:a", &flipped), Err(UnsealError::Refused), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(sealer.unseal("credential:a", &SealedText(STANDARD.encode(&bytes[..len]))).is_err(), "{len} bytes");
    }
    assert_eq!(sealer.unseal("credential:a", &SealedText("not base64!".into())), Err(UnsealError::Form));
}

#[test]
fn the_key_file_is_made_once_and_is_the_owners_alone() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("vault.key");
    let sealed = Sealer::open(&path).expect("made").seal("c", b"secret").expect("sealed");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let again = Sealer::open(&path).expect("read");
    assert_eq!(again.unseal("c", &sealed).expect("the same key").as_slice(), b"secret");
    let elsewhere = Sealer::open(&data.path().join("other.key")).expect("made");
    assert_eq!(elsewhere.unseal("c", &sealed), Err(UnsealError::Refused), "every server has its own");
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("vault.key");
    Sealer::open(&path).expect("made");
    for mode in [0o640, 0o604, 0o644, 0o660, 0o610, 0o666] {
        set_mode(&path, mode);
        let error = Sealer::open(&path).expect_err("exposed");
        assert!(matches!(error, SealingKeysError::Exposed { mode: m, .. } if m == mode), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    for mode in [0o600, 0o400] {
        set_mode(&path, mode);
        assert!(Sealer::open(&path).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_key_file_that_holds_anything_but_keys_is_refused_without_showing_it() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("vault.key");
    let good = key_line(7);
    for (content, line) in [
        (format!("{good}\n{CANARY}\n"), 2),
        (format!("# comment\n\n{}\n", STANDARD.encode([1; 31])), 3),
        (STANDARD.encode([1; 33]), 1),
        (good.trim_end_matches('=').to_owned(), 1),
    ] {
        put_private(&path, &content);
        let error = Sealer::open(&path).expect_err("no keys");
        assert!(matches!(error, SealingKeysError::Line { line: l, .. } if l == line), "{error}");
        assert!(!error.to_string().contains(CANARY) && !error.to_string().contains(&good[..8]), "{error}");
    }
    for empty in ["", "\n", "# only comments\n"] {
        put_private(&path, empty);
        let error = Sealer::open(&path).expect_err("no keys");
        assert!(matches!(error, SealingKeysError::Empty { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), empty, "never overwritten");
    }
}

#[test]
fn the_newest_key_seals_and_every_key_unseals() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("vault.key");
    let (old, new) = (key_line(1), key_line(2));
    put_private(&path, &old);
    let by_old = Sealer::open(&path).expect("read").seal("c", b"old").expect("sealed");
    put_private(&path, &format!("{old}\n  {new}  \n"));
    let both = Sealer::open(&path).expect("read");
    let by_new = both.seal("c", b"new").expect("sealed");
    assert_eq!(both.unseal("c", &by_old).expect("unsealed").as_slice(), b"old");
    put_private(&path, &new);
    let only_new = Sealer::open(&path).expect("read");
    assert_eq!(only_new.unseal("c", &by_new).expect("unsealed").as_slice(), b"new");
    assert_eq!(only_new.unseal("c", &by_old), Err(UnsealError::Refused));
}

#[test]
fn callback_headers_come_back_for_their_job_alone() {
    let data = tempfile::tempdir().expect("a directory");
    let sealer = Sealer::open(&data.path().join("vault.key")).expect("made");
    let now = Timestamp::from_millis(1_767_225_600_000);
    let (job, other) = (JobId::new(now), JobId::new(now));
    let text = sealer.seal_headers(&job, &headers()).expect("sealed");
    assert_eq!(sealer.unseal_headers(&job, &text).expect("unsealed"), headers());
    assert_eq!(sealer.unseal_headers(&other, &text), Err(UnsealError::Refused));
    assert!(!text.0.contains(CANARY));
    let no_headers = sealer.seal(&format!("callback-headers:{job}"), b"{}").expect("sealed");
    assert_eq!(sealer.unseal_headers(&job, &no_headers), Err(UnsealError::Content));
}

#[test]
fn debugging_a_sealer_shows_no_key() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("vault.key");
    put_private(&path, &key_line(0x41));
    let shown = format!("{:?}", Sealer::open(&path).expect("read"));
    assert!(shown.contains("redacted") && !shown.contains("65, 65") && !shown.contains("QUFB"), "{shown}");
}
