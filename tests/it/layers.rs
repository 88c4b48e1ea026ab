//! That imports point down only: rooms of `src/lib.rs` use those of lower floors, and none of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rooms that may know another one of their floor: plain data holds times.
const SAME_FLOOR: [(&str, &str); 1] = [("job", "clock")];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The floor of each room, by the comments of `lib.rs`.
fn floors(lib: &str) -> BTreeMap<&str, u32> {
    let (mut floors, mut floor) = (BTreeMap::new(), 0);
    for line in lib.lines() {
        if let Some(rest) = line.strip_prefix("// Floor ") {
            floor = rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number");
        }
        let module = line.split_once("mod ").and_then(|(visibility, rest)| {
            let is_module = ["pub ", "pub(crate) ", ""].contains(&visibility);
            rest.strip_suffix(';').filter(|_| is_module)
        });
        floors.extend(module.map(|module| (module, floor)));
    }
    floors
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The rooms that a file names as `crate::room`. Of `crate::{...}` it gives an empty name, which is no room.
fn rooms_named(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
    code.flat_map(|line| line.match_indices("crate::").map(|(at, name)| &line[at + name.len()..]))
        .map(move |rest| &rest[..word(rest)])
}

#[test]
fn imports_point_down_only() {
    let src = src();
    let lib = std::fs::read_to_string(src.join("lib.rs")).expect("readable");
    let floors = floors(&lib);
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut checked = 0;
    let mut wrong = Vec::new();
    for path in files {
        let inside = path.strip_prefix(&src).expect("it is in src").with_extension("");
        let room = inside.iter().next().and_then(|first| first.to_str()).expect("a name");
        // The crate itself, and the command line.
        let Some(floor) = floors.get(room) else { continue };
        let text = std::fs::read_to_string(&path).expect("readable");
        for used in rooms_named(&text).filter(|used| *used != room) {
            let used_floor = floors.get(used).unwrap_or_else(|| panic!("{}: no room `{used}`", path.display()));
            checked += 1;
            if used_floor >= floor && !SAME_FLOOR.contains(&(room, used)) {
                wrong.push(format!("{} (floor {floor}) uses {used} (floor {used_floor})", path.display()));
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were seen");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
