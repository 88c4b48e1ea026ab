//! What an operator may write, and what is refused.

use std::time::Duration;

use pixerve::callback::CallbackSettings;

fn parse(toml: &str) -> Result<CallbackSettings, String> {
    toml::from_str(toml).map_err(|error| error.to_string())
}

#[test]
fn nothing_said_means_the_defaults() {
    assert_eq!(parse(""), Ok(CallbackSettings::default()));
}

#[test]
fn defaults_written_out_read_back_the_same() {
    let written = toml::to_string(&CallbackSettings::default()).expect("defaults are TOML");
    assert_eq!(parse(&written), Ok(CallbackSettings::default()), "{written}");
}

#[test]
fn lists_may_be_comma_separated_as_in_the_environment() {
    let listed = parse("allow = ['127.0.0.0/8', '::1/128']\nschedule = ['5s', '1h 30m']\ntimeout = '2s'");
    let joined = parse("allow = '127.0.0.0/8, ::1/128,'\nschedule = '5s,1h 30m'\ntimeout = '2s'");
    assert_eq!(listed, joined);
    let settings = listed.expect("both forms are valid");
    assert_eq!(settings.allow.len(), 2);
    assert_eq!(settings.schedule, [Duration::from_secs(5), Duration::from_mins(90)]);
    assert_eq!(settings.timeout, Duration::from_secs(2));
}

#[test]
fn a_bad_value_is_named() {
    for (toml, named) in [
        ("allow = '127.0.0.0/99'", "127.0.0.0/99"),
        ("allow = ['localhost']", "localhost"),
        ("timeout = 'soon'", "soon"),
        ("schedule = '5s,never'", "never"),
        ("redirects = 3", "redirects"),
    ] {
        let error = parse(toml).expect_err(toml);
        assert!(error.contains(named), "{toml}: {error}");
    }
}
