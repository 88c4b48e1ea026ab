//! What the sources hold to as a whole: imports point down only, and one room renames files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rooms that may know another one of their floor: plain data holds times, and may come from settings; errors are printed
/// in one way.
const SAME_FLOOR: [(&str, &str); 4] =
    [("job", "clock"), ("job", "setting"), ("retry", "setting"), ("durable", "error_chain")];

/// Files that rename by themselves: what is on its way to the trash may be back after a crash, and a compacted database
/// changes places with the old one. A log is no promise.
const RENAMES: [&str; 3] = ["spool/directory/mod.rs", "database/compact.rs", "telemetry/log_file.rs"];

/// Every file of `src` by its path in there, without comments.
fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    rust_files(&src, &mut paths);
    let source = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        let code: Vec<_> = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect();
        let inside = path.strip_prefix(&src).expect("it is in src");
        (inside.to_str().expect("UTF-8").to_owned(), code.join("\n"))
    };
    paths.into_iter().map(source).collect()
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

/// The room that a file of `src` is in.
fn room_of(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
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

/// The rooms that a file names as `crate::room`. Of `crate::{...}` it gives an empty name, which is no room.
fn rooms_named(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("crate::").map(|(at, name)| {
        let rest = &code[at + name.len()..];
        let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        &rest[..rest.find(is_end).unwrap_or(rest.len())]
    })
}

#[test]
fn imports_point_down_only() {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("readable");
    let floors = floors(&lib);
    let (mut checked, mut wrong) = (0, Vec::new());
    for (path, code) in sources() {
        let room = room_of(&path);
        // The crate itself and the command line have none.
        let Some(floor) = floors.get(room) else { continue };
        for used in rooms_named(&code).filter(|used| *used != room) {
            let used_floor = floors.get(used).unwrap_or_else(|| panic!("{path}: no room `{used}`"));
            checked += 1;
            if used_floor >= floor && !SAME_FLOOR.contains(&(room, used)) {
                wrong.push(format!("{path} (floor {floor}) uses {used} (floor {used_floor})"));
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were seen");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_renamed_by_durable_which_makes_it_last() {
    for (path, code) in sources() {
        let renames = code.contains("fs::rename") || code.contains("renameat");
        let may = room_of(&path) == "durable" || RENAMES.contains(&path.as_str());
        assert!(may || !renames, "{path} renames a file; crate::durable does that so that it survives a crash");
    }
}
