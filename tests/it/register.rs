//! Users, stores, and the sealing that keeps their secrets from the disk.

#[cfg(all(feature = "s3", feature = "gcs"))]
mod in_bucket;
mod key_files;
mod presets;
pub(crate) mod records;
mod registered;
mod sealing;
mod shared;
mod stolen_disk;

use std::path::Path;
use std::sync::Arc;

use pixerve::clock::{Manual, SharedClock, Timestamp};
use pixerve::job::BackendKind;
use pixerve::register::{NewStore, OpenedRegister, Register, RegisterError, Sealer};
use serde_json::json;

/// Marks what must never be seen.
const CANARY: &str = "canary-3f9c1d";

fn clock() -> SharedClock {
    Arc::new(Manual::at(Timestamp::from_millis(1_767_225_600_000)))
}

fn sealer(data: &Path) -> Arc<Sealer> {
    Arc::new(Sealer::open(&data.join("vault.key")).expect("sealing keys"))
}

fn try_open(data: &Path) -> Result<OpenedRegister, RegisterError> {
    Register::open(data, sealer(data), clock())
}

/// The register, about which nothing need be said.
fn open(data: &Path) -> Register {
    let OpenedRegister { register, set_aside, unreadable } = try_open(data).expect("opened");
    assert_eq!((set_aside, unreadable), (None, Vec::new()));
    register
}

fn bucket(user: Option<&str>) -> NewStore {
    NewStore {
        kind: BackendKind::S3,
        user: user.map(str::to_owned),
        settings: json!({"bucket": "shop", "secret_access_key": format!("{CANARY}-s3")}).to_string().into(),
        summary: json!({"bucket": "shop"}),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own file need not be durable")]
fn put(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).expect("written");
}
