//! File systems of a test's own: small ones that can be filled, and such as can lose power.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FallocateFlags;
use tempfile::TempDir;

use super::app::poll_delay;
use super::tool::{Tool, require};

/// A file system, unmounted when dropped. Making one takes root.
pub(crate) struct Mount {
    point: PathBuf,
    image: Option<PathBuf>,
    /// Declared last: it goes when nothing is mounted in it any more.
    _dir: TempDir,
}

impl Mount {
    /// An empty one in memory, where mounting is allowed.
    pub(crate) fn tmpfs(mib: u64) -> Option<Self> {
        let mount = Self::nowhere(None);
        let made = run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", &mount.at()]);
        require(Tool::Mount, made.then_some(mount))
    }

    /// An empty ext4 in an image file, where there are loop devices.
    pub(crate) fn ext4(mib: u64) -> Option<Self> {
        let mount = Self::nowhere(Some("image"));
        let image = mount.image.as_ref().expect("it has one");
        File::create(image).and_then(|file| file.set_len(mib << 20)).expect("an image");
        let made = run("mkfs.ext4", &["-q", "-F", &image.display().to_string()]) && mount.mount();
        require(Tool::Ext4, made.then_some(mount))
    }

    fn nowhere(image: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let point = dir.path().join("mounted");
        std::fs::create_dir(&point).expect("a directory");
        Self { point, image: image.map(|name| dir.path().join(name)), _dir: dir }
    }

    /// Its root.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    fn at(&self) -> String {
        self.point.display().to_string()
    }

    fn mount(&self) -> bool {
        let image = self.image.as_ref().expect("only images are mounted again").display().to_string();
        run("mount", &["-o", "loop", &image, &self.at()])
    }

    /// What a loss of power leaves of it: nothing that was not synced, the journal's unwritten end included. It can't be
    /// used any more. None where the system can't do that.
    pub(crate) fn lose_power(&self) -> Option<()> {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH.
        const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";
        let lost = run("python3", &["-c", SHUTDOWN, &self.at()]);
        require(Tool::PowerCut, lost.then_some(()))
    }

    /// Power is back: the file system as the disk has it. Whoever used it must have ended.
    pub(crate) async fn remount(&self) {
        const TRIES: u32 = 200;
        let mut tries = 0;
        while !run("umount", &[&self.at()]) {
            tries += 1;
            assert!(tries < TRIES, "it can't be unmounted");
            poll_delay().await;
        }
        assert!(self.mount(), "what the disk has can't be mounted");
    }

    /// Has every write to it wait, or go on.
    pub(crate) fn freeze(&self, freeze: bool) {
        let how = if freeze { "--freeze" } else { "--unfreeze" };
        assert!(run("fsfreeze", &[how, &self.at()]), "fsfreeze {how}");
    }

    /// Refuses every write to it, or takes them again.
    pub(crate) fn read_only(&self, read_only: bool) {
        let how = if read_only { "remount,ro" } else { "remount,rw" };
        assert!(run("mount", &["-o", how, &self.at()]), "mount -o {how}");
    }

    /// Leaves so many bytes free.
    pub(crate) fn fill(&self, bytes_left: u64) {
        let file = File::options().create(true).append(true).open(self.ballast()).expect("a file");
        let mut ballast = 0;
        // Others may take some meanwhile.
        while let more @ 1.. = free_bytes(&self.point).saturating_sub(bytes_left) {
            if rustix::fs::fallocate(&file, FallocateFlags::empty(), ballast, more).is_ok() {
                ballast += more;
            }
        }
    }

    /// Frees again what filling it took.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.point.join("ballast")
    }
}

fn free_bytes(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("a file system");
    stat.f_bavail * stat.f_frsize
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nothing else ends who waits for it, should a test have failed meanwhile.
        run("fsfreeze", &["--unfreeze", &self.at()]);
        // Lazily: a process that is just ending may hold it for a moment.
        run("umount", &["-l", &self.at()]);
    }
}
