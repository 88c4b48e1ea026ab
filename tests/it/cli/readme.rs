//! What the README shows of the command.

use crate::harness::process::Home;
use crate::tour::run_part_of_readme;

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_chapter_does_what_it_says() {
    // With keys that its first start makes.
    let home = Home::new(&[("PIXERVE_JWT_SECRET", "")]);
    let _server = home.start().await;
    let said = run_part_of_readme(&home, "command").remove("command").expect("it says something");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("completed  "), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("  stored   /files/")), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("accepted  ") && line.ends_with("  -")), "{said}");
    assert_eq!(lines.last(), Some(&"exit code 1: it has ended"), "{said}");
}
