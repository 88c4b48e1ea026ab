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
    let mut lines = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let target = work.join(format!("{i}.png"));
        writeln!(lines, "{}\t{}\t{SIDE}", root.join(file).display(), target.display()).expect("memory takes it");
        made.insert((*file).clone(), target);
    }
    process.stdin.take().expect("piped").write_all(&lines).expect("node reads");
    drop(process.wait());
    made.retain(|_, target| target.is_file());
    made
}

/// The exponent of a PNG's gAMA chunk, which libvips passes over and browsers don't; none if it means sRGB, or another
/// chunk has the say.
pub(crate) fn gamma(file: &Path) -> Option<f64> {
    let bytes = std::fs::read(file).ok()?;
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    let mut gamma = None;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        match rest.get(4..8)? {
            b"iCCP" | b"sRGB" | b"cICP" => return None,
            b"gAMA" => gamma = Some(u32::from_be_bytes(*rest.get(8..)?.first_chunk()?)),
            b"IDAT" => break,
            _ => {}
        }
        rest = rest.get(12 + length..)?;
    }
    gamma.filter(|gamma| !(45_000..=46_000).contains(gamma)).map(|gamma| 100_000.0 / f64::from(gamma))
}
