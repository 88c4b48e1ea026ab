//! What libjpeg-turbo's own tools write.

#![expect(clippy::disallowed_methods, reason = "files for a tool, for a moment")]

use std::fs;
use std::path::Path;
use std::process::Command;

use super::matrix::{check, report};

/// A picture for `cjpeg`, with edges and colours.
fn portable_pixmap(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let kind = if channels == 1 { 5 } else { 6 };
    let mut file = format!("P{kind}\n{width} {height}\n255\n").into_bytes();
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let bar = if x * 5 / width % 2 == 1 { 90 } else { 0 };
        let pixel = [x * 160 / width + bar, y * 200 / height, 160 - x * 160 / width + bar];
        file.extend(pixel[..channels].iter().map(|level| *level as u8));
    }
    file
}

/// A progressive script with refinements of everything.
const SLOW: &str = "0 1 2: 0-0, 0, 1; 0: 1-63, 0, 2; 2: 1-63, 0, 1; 1: 1-63, 0, 1; 0: 1-63, 2, 1; \
    0 1 2: 0-0, 1, 0; 2: 1-63, 1, 0; 1: 1-63, 1, 0; 0: 1-63, 1, 0;";

/// Runs `tool` on a file of `input`.
fn run(directory: &Path, tool: &str, arguments: &str, input: &[u8]) -> Vec<u8> {
    let (from, to) = (directory.join("from"), directory.join("to"));
    fs::write(&from, input).expect("a temporary file");
    let mut command = Command::new(tool);
    command.args(arguments.split_whitespace()).arg("-outfile").arg(&to).arg(&from).current_dir(directory);
    let output = command.output().expect("the tool runs");
    assert!(output.status.success(), "{tool} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(to).expect("its file")
}

#[test]
fn what_cjpeg_and_jpegtran_write_looks_as_libjpeg_shows_it() {
    if ["cjpeg", "jpegtran"].iter().any(|tool| Command::new(tool).arg("-version").output().is_err()) {
        assert!(std::env::var_os("CI").is_none(), "cjpeg or jpegtran is missing: run `make setup`");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("apart"), "0;\n1;\n2;\n").expect("a script");
    fs::write(directory.path().join("chroma-first"), "1 2;\n0;\n").expect("a script");
    fs::write(directory.path().join("slow"), SLOW).expect("a script");
    let samplings = ["1x1", "2x1", "1x2", "2x2", "4x1", "3x1", "1x1,2x1,2x1", "1x1,2x2,1x1", "2x2,2x1,1x2"];
    let codings = ["", "-optimize", "-progressive", "-restart 1B", "-restart 1", "-progressive -restart 2B"];
    let turns = [
        "-rotate 90",
        "-flip vertical -trim",
        "-transverse",
        "-crop 42x30+16+16",
        "-crop 27x46+32+0",
        "-scans apart",
        "-scans apart -restart 3B",
        "-scans chroma-first",
        "-scans slow",
        "-progressive -restart 1",
    ];
    let (mut count, mut wrong) = (0, Vec::new());
    let mut hold = |what: String, file: &[u8]| {
        count += 1;
        wrong.extend(check(file).err().map(|error| format!("{what}: {error}")));
    };
    for (width, height) in [(98, 74), (64, 48)] {
        let grey = portable_pixmap(width, height, 1);
        let colour = portable_pixmap(width, height, 3);
        for coding in codings {
            hold(format!("grey {coding}"), &run(directory.path(), "cjpeg", coding, &grey));
            for more in samplings.iter().map(|s| format!("-sample {s}")).chain(["-rgb".to_owned()]) {
                let arguments = format!("-quality 90 {coding} {more}");
                let file = run(directory.path(), "cjpeg", &arguments, &colour);
                hold(format!("{width} x {height} {arguments}"), &file);
                if coding.is_empty() {
                    for turn in turns {
                        let turned = run(directory.path(), "jpegtran", turn, &file);
                        hold(format!("{width} x {height} {arguments}, {turn}"), &turned);
                    }
                }
            }
        }
    }
    report(&wrong, count);
    assert!(count > 250, "{count}");
}
