use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it lists");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn staged(directory: &Path) -> StagedFile<OpenDirectory> {
    let (directory, _) = OpenDirectory::holding(&directory.join("file")).expect("opened");
    let mut file = StagedFile::create(directory, ".temporary", BY_UMASK).expect("created");
    file.write_all(b"bytes").expect("written");
    file
}

#[test]
fn a_created_file_is_whole_has_its_mode_and_leaves_nothing_else() {
    let temp = temp();
    let path = temp.path().join("deeper/still/key");
    create_file(&path, b"secret", OWNER_ONLY).expect("created");
    assert_eq!(fs::read(&path).expect("readable"), b"secret");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(names(parent_of(&path)), ["key"]);
}

#[test]
fn creating_never_overwrites() {
    let temp = temp();
    let path = temp.path().join("key");
    create_file(&path, b"first", OWNER_ONLY).expect("created");
    let error = create_file(&path, b"second", OWNER_ONLY).expect_err("it is there");
    assert_eq!(error.cause().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).expect("readable"), b"first");
    assert_eq!(names(temp.path()), ["key"]);
}

#[test]
fn replacing_overwrites_and_survives_what_a_crash_left() {
    let temp = temp();
    let path = temp.path().join("note");
    replace_file(&path, b"first, and longer", BY_UMASK).expect("written");
    fs::File::create(temp.path().join("note.partial")).expect("a leftover");
    replace_file(&path, b"second", BY_UMASK).expect("written again");
    assert_eq!(fs::read(&path).expect("readable"), b"second");
    assert_eq!(names(temp.path()), ["note"]);
}

#[test]
fn a_staged_file_is_seen_only_once_it_is_published() {
    let temp = temp();
    let synced = staged(temp.path()).sync().expect("synced");
    assert_eq!(names(temp.path()), [".temporary"]);
    let mut seen = Vec::new();
    synced.publish(OsStr::new("file"), Existing::Replace, || seen = names(temp.path())).expect("published");
    assert_eq!(seen, ["file"]);
    assert_eq!(fs::read(temp.path().join("file")).expect("readable"), b"bytes");
}

#[test]
fn a_staged_file_that_is_dropped_is_removed_synced_or_not() {
    let temp = temp();
    drop(staged(temp.path()));
    assert_eq!(names(temp.path()), [""; 0]);
    drop(staged(temp.path()).sync().expect("synced"));
    assert_eq!(names(temp.path()), [""; 0]);
}

#[test]
fn a_link_in_the_files_place_is_replaced_and_not_followed() {
    let temp = temp();
    let target = temp.path().join("target");
    fs::File::create(&target).expect("made");
    symlink(&target, temp.path().join("file")).expect("linked");
    let synced = staged(temp.path()).sync().expect("synced");
    synced.publish(OsStr::new("file"), Existing::Replace, || ()).expect("published");
    assert_eq!(fs::read(&target).expect("readable"), b"");
    assert!(fs::symlink_metadata(temp.path().join("file")).expect("there").is_file());
}

#[test]
fn a_name_that_leads_out_of_the_directory_is_refused() {
    let temp = temp();
    for name in ["", ".", "..", "../file", "a/b", "/file", "file/"] {
        let synced = staged(temp.path()).sync().expect("synced");
        let error = synced.publish(OsStr::new(name), Existing::Replace, || ()).expect_err(name);
        assert_eq!(error.cause().kind(), io::ErrorKind::InvalidInput, "{name:?}");
    }
    assert_eq!(names(temp.path()), [""; 0]);
}

#[test]
fn an_error_says_what_was_attempted_on_what() {
    let temp = temp();
    let path = temp.path().join("missing/file");
    let error = replace_file(&path, b"", BY_UMASK).expect_err("no such directory");
    let parent = parent_of(&path).display();
    assert_eq!(error.to_string(), format!("open {parent}: No such file or directory (os error 2)"));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_staged_directory_appears_with_all_its_files_or_not_at_all() {
    let temp = temp();
    let (beside, place) = (temp.path().join("beside"), temp.path().join("place"));
    let filled = || -> Result<_, FileError> {
        let mut directory = StagedDirectory::create(beside.clone())?;
        let mut file = directory.create_file("file", OWNER_ONLY)?;
        file.write_all(b"bytes")?;
        Ok((directory, file))
    };
    drop(filled().expect("filled"));
    assert_eq!(names(temp.path()), [""; 0]);

    let (directory, file) = filled().expect("filled");
    let synced = directory.sync(&[file.sync().expect("synced")]).expect("synced");
    assert_eq!(names(temp.path()), ["beside"]);
    synced.publish(&place, || assert!(!beside.exists() && place.exists())).expect("published");
    assert_eq!(fs::read(place.join("file")).expect("readable"), b"bytes");
    assert_eq!(mode(&place.join("file")), 0o600);
    assert_eq!(names(temp.path()), ["place"]);
}

#[test]
#[should_panic(expected = "every file of a directory is synced")]
fn a_directory_with_a_file_that_was_not_synced_is_not_published() {
    let temp = temp();
    let mut directory = StagedDirectory::create(temp.path().join("beside")).expect("created");
    let _file = directory.create_file("file", BY_UMASK).expect("created");
    let _ = directory.sync(&[]);
}

#[test]
fn a_directory_that_can_not_be_published_is_removed() {
    let temp = temp();
    let place = temp.path().join("place");
    create_file(&place.join("in/the/way"), b"", BY_UMASK).expect("made");
    let synced = StagedDirectory::create(temp.path().join("beside")).and_then(|d| d.sync(&[])).expect("synced");
    synced.publish(&place, || ()).expect_err("something is there");
    assert_eq!(names(temp.path()), ["place"]);
}

#[test]
fn removing_what_is_not_there_is_harmless() {
    let temp = temp();
    let path = temp.path().join("file");
    create_file(&path, b"", BY_UMASK).expect("created");
    remove_file(&path).expect("removed");
    remove_file(&path).expect("harmless");
    assert_eq!(names(temp.path()), [""; 0]);
}
