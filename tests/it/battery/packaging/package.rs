//! The Debian package, installed in a Debian of its own.

use std::fs::{File, create_dir_all};
use std::process::Command;

use super::podman::{Podman, in_debian};
use super::{root, stripped_binary};
use crate::battery::figure;
use crate::harness::process::reserve_port;
use crate::harness::tool::{Tool, require};

/// Each line must succeed. No systemd runs in there: what it would do at a start is done by hand.
const INSTALL: &str = r#"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends /files/pixerve.deb >/dev/null
dpkg --verify pixerve
systemd-analyze verify pixerve.service pixerve.socket
test -s /usr/share/man/man1/pixerve-gc.1.gz
bash -n /usr/share/bash-completion/completions/pixerve
test -s /usr/share/zsh/vendor-completions/_pixerve
test -s /usr/share/fish/vendor_completions.d/pixerve.fish
getent passwd pixerve | grep ':/var/lib/pixerve:'
test "$(systemctl is-enabled pixerve.service)" = enabled
test "$(systemctl is-enabled pixerve.socket || true)" = disabled
grep -q 'Copyright: 2026' /usr/share/doc/pixerve/copyright

install -d -o pixerve -m 700 /var/lib/pixerve
cd /var/lib/pixerve
export PIXERVE_ADDR=127.0.0.1:$port
setpriv --reuid pixerve --regid pixerve --clear-groups pixerve --config /etc/pixerve/pixerve.toml serve &
timeout 60 sh -c 'until pixerve health; do kill -0 "$1" && sleep 0.2; done' sh $!
test -s /var/lib/pixerve/jwt.json
pixerve --config /etc/pixerve/pixerve.toml token --admin | grep -q '^ey'
kill $!
wait $!

# A package of the same version again, as an upgrade would be: settings that were changed stay.
echo 'max_workers = 3' >>/etc/pixerve/pixerve.toml
dpkg --install /files/pixerve.deb
grep -q 'max_workers = 3' /etc/pixerve/pixerve.toml
systemctl disable pixerve.service
dpkg --install /files/pixerve.deb
test "$(systemctl is-enabled pixerve.service || true)" = disabled

dpkg --remove pixerve
test ! -e /usr/bin/pixerve
test -e /etc/pixerve/pixerve.toml
dpkg --purge pixerve
test ! -e /etc/pixerve/pixerve.toml
test ! -e /etc/systemd/system/multi-user.target.wants/pixerve.service
test -s /var/lib/pixerve/jwt.json
"#;

#[test]
#[ignore = "takes podman and cargo-deb, and a minute"]
fn a_package_installs_in_debian_runs_keeps_changed_settings_and_leaves_pictures_when_it_goes() {
    let Some(podman) = Podman::find() else { return };
    let tool = root().join("target/tools/bin/cargo-deb");
    let Some(cargo_deb) = require(Tool::CargoDeb, Some(tool).filter(|tool| tool.is_file())) else { return };
    let files = tempfile::tempdir().expect("a directory");
    // Where cargo would have put a release, and `.ci/split-debug.sh` its other half.
    let release = files.path().join("target/release");
    create_dir_all(&release).expect("a directory");
    stripped_binary(&release.join("pixerve"));
    File::create(release.join("pixerve.debug")).expect("it is made");
    let mut manual = Command::new("sh");
    manual.current_dir(root()).arg(".ci/manual.sh").args([release.join("pixerve"), release.join("manual")]);
    assert!(manual.status().expect("sh runs").success());
    let package = files.path().join("pixerve.deb");
    let output = Command::new(cargo_deb)
        .current_dir(root())
        .args(["deb", "--locked", "--no-build", "--no-strip", "--fast", "--output"])
        .arg(&package)
        .env("CARGO_TARGET_DIR", files.path().join("target"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let bytes = package.metadata().expect("it is there").len();

    let script = format!("port={}\n{INSTALL}", reserve_port().port());
    in_debian(&podman, &files, &script);
    figure("packaging", format!("package of {} MB, quickly compressed, installed, run and purged", bytes / 1_000_000));
}
