//! What Pixerve is shipped as: the image, the Debian package, and the manifests that run it. Each is made as `deploy` says and
//! used as its user would, by podman and Debian's own tools.

mod image;
mod manifests;
mod package;
mod podman;

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary of these tests, as a release has it: without what only a debugger reads, and three times as small for it.
fn stripped_binary(into: &Path) {
    let output =
        Command::new("strip").arg("-o").arg(into).arg(env!("CARGO_BIN_EXE_pixerve")).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
