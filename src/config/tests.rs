//! What only this room can see: the text of the defaults, lines of `.env`.

use std::path::Path;

use super::sources::parse_dotenv;
use super::{Config, DEFAULTS, Sources};

/// Each setting with the comment above it.
fn commented_settings() -> Vec<(String, String)> {
    let (mut table, mut comment, mut settings) = (String::new(), String::new(), Vec::new());
    for line in DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if let Some((key, _)) = line.split_once(" = ") {
            settings.push((format!("{table}{key}"), std::mem::take(&mut comment)));
        } else {
            comment.clear();
            if let Some(name) = line.strip_prefix('[') {
                table = format!("{}.", name.trim_end_matches(']'));
            }
        }
    }
    settings
}

/// What reads them asserts the first half, and panics over a field without a setting.
#[test]
fn every_setting_has_a_field_and_every_field_a_setting() {
    assert!(Config::load(Sources::default()).is_ok());
}

#[test]
fn every_default_is_explained_with_its_value_and_its_variable() {
    let settings = commented_settings();
    assert_eq!(settings.len(), Config::setting_names().len());
    for (key, comment) in settings {
        assert!(comment.contains("Default: "), "{key}");
        assert!(comment.ends_with(&format!(" {}", Config::variable_of(&key))), "{key}: {comment}");
    }
}

#[test]
fn every_comment_tells_the_default_that_is_set() {
    for line in DEFAULTS.lines().collect::<Vec<_>>().join("\n").split("\n\n") {
        let Some((comment, setting)) = line.rsplit_once('\n') else { continue };
        let Some((_, value)) = setting.split_once(" = ") else { continue };
        let comment = comment.replace("\n#", "");
        assert!(comment.contains(&format!("Default: {value}")), "{setting}: {comment}");
    }
}

#[test]
fn a_broken_line_of_dotenv_is_named_by_its_number_and_not_quoted() {
    let mut errors = Vec::new();
    let text = "# a comment\nPIXERVE_ADDR=127.0.0.1:1\nPIXERVE_JWT_SECRET='hunter2 unclosed\n";
    parse_dotenv(Path::new(".env"), text, &mut errors);
    let messages: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].starts_with(".env, line 3: "), "{messages:?}");
    assert!(!messages[0].contains("hunter2"), "{messages:?}");
}

#[test]
fn dotenv_takes_a_byte_order_mark_comments_and_quotes() {
    let mut errors = Vec::new();
    let text = "\u{feff}PIXERVE_LOG=debug\n# no\nexport PIXERVE_AUTH_ISSUER='my $app'\n";
    let variables = parse_dotenv(Path::new(".env"), text, &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    let expected = [("PIXERVE_LOG", "debug"), ("PIXERVE_AUTH_ISSUER", "my $app")];
    assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}
