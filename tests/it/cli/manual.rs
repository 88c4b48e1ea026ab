//! What the command says of itself: completions, the manual, examples.

use super::run;
use crate::harness::process::Home;

#[tokio::test(flavor = "multi_thread")]
async fn completions_know_the_commands_and_bash_takes_them() {
    let home = Home::new(&[]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&home, &["completions", shell]).await;
        assert_eq!(ran.code, Some(0), "{shell}: {}", ran.stderr);
        assert!(ran.stdout.contains("webhook-secret"), "{shell}");
    }
    let mut bash = std::process::Command::new("bash");
    let script = run(&home, &["completions", "bash"]).await.stdout;
    // As bash calls it when a person types `pixerve heal` and TAB.
    let complete = "COMP_WORDS=(pixerve heal); COMP_CWORD=1; _pixerve pixerve heal pixerve; echo \"${COMPREPLY[@]}\"";
    let output = bash.args(["-c", &format!("{script}\n{complete}")]).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "health", "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_has_a_page_for_each_command_with_its_options_and_examples() {
    let home = Home::new(&[]);
    std::fs::create_dir(home.root().join("man1")).expect("made");
    let ran = run(&home, &["man", "--dir", "man1"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let page = |name: &str| std::fs::read_to_string(home.root().join("man1").join(name)).expect("a page");
    assert!(page("pixerve.1").contains("pixerve\\-health(1)"), "{}", page("pixerve.1"));
    let health = page("pixerve-health.1");
    assert!(health.contains("\\-\\-live") && health.contains("Examples:"), "{health}");
    let pages = std::fs::read_dir(home.root().join("man1")).expect("a directory");
    for name in pages.map(|page| page.expect("an entry").file_name().into_string().expect("text")) {
        let is_own = name == "pixerve.1" || name.starts_with("pixerve-help");
        assert!(is_own || page(&name).contains("Examples:"), "{name} has no examples");
    }
    assert_eq!(run(&home, &["man", "health"]).await.stdout.trim(), health.trim());
    assert_eq!(run(&home, &["man", "nothing"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_settings_are_read_by_who_needs_none() {
    let home = Home::new(&[("PIXERVE_ADDR", "nowhere")]);
    let ran = run(&home, &["health", "--live", "--server", "http://127.0.0.1:1"]).await;
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert_eq!(run(&home, &["health", "--live"]).await.code, Some(2), "which server is meant is a setting");
}
