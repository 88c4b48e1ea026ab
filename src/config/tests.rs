//! What only this room can see: the defaults' text, single kinds, `.env` lines.

use std::path::Path;
use std::time::Duration;

use super::kind::{bytes, bytes_or_zero, count, duration, duration_or_zero, networks, optional, pixels, text};
use super::layer::Given;
use super::sources::parse_dotenv;
use super::{Config, DEFAULTS};

fn given(text: &str) -> Given {
    Given::Text(text.to_owned())
}

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
fn durations_are_above_zero_and_bounded() {
    assert_eq!(duration().parse(&given("1m 30s")), Some(Duration::from_secs(90)));
    for bad in ["", "30", "0s", "-5s", "soon", "1000000years"] {
        assert_eq!(duration().parse(&given(bad)), None, "{bad}");
    }
    assert_eq!(duration_or_zero().parse(&given("0s")), Some(Duration::ZERO));
}

#[test]
fn sizes_take_both_kinds_of_units_and_plain_numbers() {
    for (text, expected) in [("100 MiB", 104_857_600), ("100MiB", 104_857_600), ("1 MB", 1_000_000), ("512", 512)] {
        assert_eq!(bytes::<u64>().parse(&given(text)), Some(expected), "{text}");
    }
    for bad in ["0", "-1", "MiB", "99999999999 GiB", "5 apples"] {
        assert_eq!(bytes::<u64>().parse(&given(bad)), None, "{bad}");
    }
    assert_eq!(bytes::<u32>().parse(&given("8 GiB")), None);
    assert_eq!(bytes_or_zero().parse(&given("0")), Some(0));
}

#[test]
fn pixels_take_millions_and_plain_numbers() {
    for (text, expected) in [("100 MP", 100_000_000), ("100MP", 100_000_000), ("640000", 640_000)] {
        assert_eq!(pixels().parse(&given(text)), Some(expected), "{text}");
    }
    for bad in ["0", "0 MP", "MP", "1.5 MP", "99999999999999 MP"] {
        assert_eq!(pixels().parse(&given(bad)), None, "{bad}");
    }
}

#[test]
fn counts_fit_their_type() {
    assert_eq!(count::<u32>().parse(&given(" 7 ")), Some(7));
    for bad in ["0", "-1", "1.5", "4294967296"] {
        assert_eq!(count::<u32>().parse(&given(bad)), None, "{bad}");
    }
}

#[test]
fn networks_come_as_text_or_list_and_a_plain_address_stands_for_itself() {
    let parsed = networks().parse(&given("10.0.0.0/8, ::1,")).expect("networks");
    assert_eq!(parsed, ["10.0.0.0/8".parse().expect("CIDR"), "::1/128".parse().expect("CIDR")]);
    let list = Given::List(vec!["10.0.0.0/8".into(), "::1/128".into()]);
    assert_eq!(networks().parse(&list), Some(parsed));
    assert_eq!(networks().parse(&given("10.0.0.0/33")), None);
}

#[test]
fn one_value_is_not_a_list_of_one() {
    assert_eq!(text().parse(&Given::List(vec!["a".into()])), None);
    assert_eq!(optional(text()).parse(&given("")), Some(None));
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
