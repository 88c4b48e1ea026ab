//! libvips' idea of the same files, by sharp.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::child::SIDE;

/// Reads lines of source, tab, target; writes a target wherever libvips makes a picture.
const SCRIPT: &str = r"
const sharp = require('sharp');
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);
(async () => {
  for (const line of lines) {
    const [source, target, side] = line.split('\t');
    try {
      await sharp(source).rotate()
        .resize({ width: +side, height: +side, fit: 'inside', withoutEnlargement: true, kernel: 'lanczos3' })
        .toColourspace('srgb').png({ compressionLevel: 1 }).toFile(target);
    } catch (e) { console.error(source, e.message); }
  }
})();
";

/// The reference pictures there are, by the files' paths.
pub(crate) fn make(root: &Path, files: &[&PathBuf], work: &Path) -> HashMap<PathBuf, PathBuf> {
    let directory =
        std::env::var_os("PIXERVE_SHARP_DIR").map_or_else(|| PathBuf::from("target/bench/node"), PathBuf::from);
    let mut made = HashMap::new();
    let modules = directory.join("node_modules");
    if !modules.join("sharp").is_dir() {
        println!("There is no sharp in {}; nothing is compared.\n", directory.display());
        return made;
    }
    let mut process = Command::new("node")
        .args(["-e", SCRIPT])
        .env("NODE_PATH", modules)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("node starts");
    let mut lines = String::new();
    for (i, file) in files.iter().enumerate() {
        let target = work.join(format!("{i}.png"));
        lines.push_str(&format!("{}\t{}\t{SIDE}\n", root.join(file).display(), target.display()));
        made.insert((*file).clone(), target);
    }
    process.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("node reads");
    drop(process.wait());
    made.retain(|_, target| target.is_file());
    made
}
