//! Two hundred ways to name something that is elsewhere.

use std::path::Path;

/// What is tried everywhere: as a file's name, as `subDir`, as `sub`, as `hash`, behind `/files/`. `outside` is an
/// absolute directory to climb to.
pub(super) fn hostile(outside: &Path) -> Vec<String> {
    let outside = outside.display();
    let mut names: Vec<String> = Vec::new();
    // Climbing, in every spelling of a dot and a slash.
    for dots in [
        "..",
        "...",
        "....",
        ".",
        "%2e%2e",
        "%2E%2E",
        ".%2e",
        "%252e%252e",
        "%25252e%25252e",
        "%c0%ae%c0%ae",
        "%e0%80%ae%e0%80%ae",
        "%u002e%u002e",
        "\u{2024}\u{2024}",
        "\u{ff0e}\u{ff0e}",
        "\u{2025}",
        "\u{2026}",
        "..;",
        ". .",
        ".\u{200b}.",
        "\0..",
        "..\0",
    ] {
        for slash in ["/", "\\", "%2f", "%5c", "%252f", "%c0%af", "\u{2215}", "\u{ff0f}"] {
            names.push(format!("{dots}{slash}{dots}{slash}canary.jpg"));
        }
    }
    // Elsewhere at once.
    for root in
        ["/", "//", "\\", "C:\\", "C:/", "\\\\server\\share\\", "file:///", "\\\\?\\C:\\", "~/", "~root/", "$HOME/"]
    {
        names.push(format!("{root}etc/passwd"));
    }
    names.push(format!("{outside}/canary.jpg"));
    names.push(format!("a/../../../../../../../../{outside}/canary.jpg"));
    // Names that mean something to a system.
    for device in [
        "CON",
        "NUL",
        "PRN.jpg",
        "AUX",
        "COM1.png",
        "LPT9",
        "CLOCK$",
        "/dev/stdout",
        "/proc/self/environ",
        "a.jpg::$DATA",
    ] {
        names.push(device.to_owned());
    }
    for file in [".htaccess", ".env", "jwt.json", "web.config", ".git/config", "index.html", "-rf", "--help", "*", "?"]
    {
        names.push(file.to_owned());
    }
    // Ends that cut a name short, or begin a new line.
    for end in
        ["\0", "\0.png", "%00", "%00.png", "\n", "\r\nX-Injected: 1", ".", " ", "/", "/.", "/..", "\u{202e}gpj.exe"]
    {
        names.push(format!("a.jpg{end}"));
    }
    // Very long, very deep.
    names.extend([
        "x".repeat(255),
        "x".repeat(256),
        "x".repeat(4096),
        "\u{e4}".repeat(128),
        "a/".repeat(2000),
        "../".repeat(1000),
        ".".repeat(300),
    ]);
    names
}
