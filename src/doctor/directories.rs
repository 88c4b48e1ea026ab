//! The directories: whether they can be written, how much is free on their disks, whether what they keep has moved away.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};
use serde_json::Value;

use super::Check;
use super::check::bytes;
use crate::disks::{self, RootKind};

/// What a migration leaves in a data directory that it moves from or to.
const MOVED: &str = "migration.json";

/// One of them.
pub(super) fn directory(kind: RootKind, path: &Path, free_disk_min: u64) -> Check {
    let name = format!("{} directory", kind.name());
    let shown = path.display();
    if !path.exists() {
        return missing(&name, kind, path);
    }
    let free = match disks::look(kind, path) {
        Ok(free) => free,
        Err(error) => {
            return Check::failed(&name, format!("{shown} can't be written: {}", error.cause()), error.remedy());
        }
    };
    let total = statvfs(path).ok().map(|stat| stat.f_blocks.saturating_mul(stat.f_frsize));
    let floor = bytes(free_disk_min);
    match free {
        _ if total.is_some_and(|total| total <= free_disk_min) => {
            let found = format!(
                "{shown} is on a disk of {} in all, and {floor} are to stay free",
                bytes(total.unwrap_or_default())
            );
            Check::failed(
                &name,
                found,
                "lower PIXERVE_STORAGE_FREE_DISK_MIN, or use a larger disk: every upload is refused (507)",
            )
        }
        Some(free) if free < free_disk_min => {
            let found = format!("{} are free for {shown}, and {floor} are to stay free", bytes(free));
            Check::failed(
                &name,
                found,
                "free some space, or lower PIXERVE_STORAGE_FREE_DISK_MIN: uploads are refused (507)",
            )
        }
        Some(free) => Check::ok(&name, format!("{shown} can be written, {} are free", bytes(free))),
        None => Check::ok(&name, format!("{shown} can be written")),
    }
}

/// It is made at the start, if it can be.
fn missing(name: &str, kind: RootKind, path: &Path) -> Check {
    let above = path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let Some(above) = above.into_iter().find(|above| above.exists()) else {
        return Check::ok(name, format!("{} is not there yet", path.display()));
    };
    if above.is_dir() && access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return Check::ok(name, format!("{} is not there yet; the first start makes it", path.display()));
    }
    let found = format!("{} is not there, and can't be made in {}", path.display(), above.display());
    let remedy = format!("make it and give it to the user of the server, or choose another by {}", kind.setting());
    Check::failed(name, found, remedy)
}

/// That what is kept in the data directory `data` has moved, or is on its way; none most of the time.
pub(super) fn moved(data: &Path) -> Option<Check> {
    let path = data.join(MOVED);
    let text = std::fs::read_to_string(&path).ok()?;
    let mark: Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| mark[name].as_str().unwrap_or("?").to_owned();
    let found = match mark["state"].as_str() {
        Some("left") => {
            format!("what was kept in {} has moved to {}, and goes on there", data.display(), field("other"))
        }
        Some("arriving") => {
            format!("not all is in {} yet that is being moved there from {}", data.display(), field("other"))
        }
        _ => format!("what is kept in {} is being moved to {}", data.display(), field("other")),
    };
    let remedy = format!(
        "`pixerve migrate` with --to {} goes on with it; no server starts here before: README, \"Moving over and back\". {} says so",
        field("to"),
        path.display()
    );
    Some(Check::failed("move", found, remedy))
}
