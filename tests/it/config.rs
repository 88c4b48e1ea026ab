//! Settings: their layers, and what is said about wrong ones.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use pixerve::config::{Config, ConfigErrors, Sources, Warning};
use pixerve::encoder::AvifEngine;
#[cfg(feature = "s3")]
use pixerve::routes::files::RedirectOrigin;
use pixerve::telemetry::LogFormat;
#[cfg(feature = "s3")]
use pixerve::writer::ServeKind;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::tempdir;

const ENV_EXAMPLE: &str = include_str!("../../.env.example");

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(text: &str) -> Sources {
    Sources { file: Some((PathBuf::from("my.toml"), text.to_owned())), ..Sources::default() }
}

fn env(pairs: &[(&str, &str)]) -> Sources {
    Sources { env: variables(pairs), ..Sources::default() }
}

fn load(sources: Sources) -> Config {
    Config::load(sources).expect("the settings are right").0
}

fn errors(sources: Sources) -> String {
    Config::load(sources).expect_err("something is wrong").to_string()
}

fn warnings(sources: Sources) -> Vec<String> {
    Config::load(sources).expect("the settings are right").1.iter().map(ToString::to_string).collect()
}

/// Runs the program in `dir`, with no variables but `variables`.
fn pixerve(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixerve"));
    command.current_dir(dir).args(arguments).env_clear().envs(variables.iter().copied());
    command.output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[expect(clippy::disallowed_methods, reason = "durability is not what is tested")]
fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).expect("the file is written");
}

/// The variables of `.env.example` with their values, uncommented.
fn example_variables() -> Vec<(String, String)> {
    let lines = ENV_EXAMPLE.lines().filter_map(|line| line.strip_prefix("#PIXERVE_")?.split_once('='));
    lines.map(|(name, value)| (format!("PIXERVE_{name}"), value.to_owned())).collect()
}

#[test]
fn without_any_source_the_defaults_are_the_promised_ones() {
    let config = load(Sources::default());
    assert_eq!(config.addr.to_string(), "0.0.0.0:8080");
    assert_eq!(config.server.http.body_bytes_max, 100 * 1024 * 1024);
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(config.serve_dir, PathBuf::from("./serve"));
    assert_eq!(config.auth.jwt_file, PathBuf::from("./jwt.json"));
    assert!(config.auth.jwt_secret.is_none());
    assert_eq!(config.auth.lifetime_max, Duration::from_hours(24));
    assert_eq!(config.worker.retention, Duration::from_hours(30 * 24));
    assert_eq!(config.pixels.source_max, 100_000_000);
    assert!(config.callback.allow.is_empty());
    assert_eq!(config.log.log_format, LogFormat::Pretty);
}

#[test]
fn the_example_of_variables_names_every_setting_and_no_other() {
    let settings: BTreeSet<_> = Config::setting_names().iter().map(|name| Config::variable_of(name)).collect();
    let example: BTreeSet<_> = example_variables().into_iter().map(|(name, _)| name).collect();
    assert_eq!(example, settings);
}

#[test]
fn the_example_of_variables_shows_the_defaults() {
    let sources = Sources { dotenv: example_variables(), ..Sources::default() };
    assert_eq!(format!("{:?}", load(sources)), format!("{:?}", load(Sources::default())));
}

#[test]
fn every_variable_of_the_example_is_explained_and_commented_out() {
    let lines: Vec<_> = ENV_EXAMPLE.lines().collect();
    for pair in lines.windows(2) {
        assert!(!pair[1].starts_with("PIXERVE_"), "{} is set", pair[1]);
        if pair[1].starts_with("#PIXERVE_") {
            assert!(pair[0].starts_with("# "), "{} is not explained", pair[1]);
        }
    }
}

#[test]
fn a_later_source_wins() {
    let mut sources = file("addr = \"10.0.0.1:1\"\nlog = \"warn\"\ndata_dir = \"from-file\"");
    assert_eq!(load(file("addr = \"10.0.0.1:1\"")).addr.to_string(), "10.0.0.1:1");
    sources.dotenv = variables(&[("PIXERVE_ADDR", "10.0.0.2:2"), ("PIXERVE_LOG", "debug")]);
    sources.env = variables(&[("PIXERVE_ADDR", "10.0.0.3:3")]);
    let config = load(sources);
    assert_eq!(config.addr.to_string(), "10.0.0.3:3");
    assert_eq!(config.log.log, "debug");
    assert_eq!(config.data_dir, PathBuf::from("from-file"));
}

#[test]
fn an_empty_variable_is_unset() {
    let mut sources = env(&[("PIXERVE_ADDR", ""), ("PIXERVE_LOG", "  "), ("PIXERVE_JWT_SECRET", "")]);
    sources.dotenv = variables(&[("PIXERVE_ADDR", "10.0.0.2:2")]);
    let config = load(sources);
    assert_eq!(config.addr.to_string(), "10.0.0.2:2");
    assert_eq!(config.log.log, "info");
    assert!(config.auth.jwt_secret.is_none());
}

#[test]
fn a_setting_in_a_table_has_a_variable_too() {
    let config = load(env(&[("PIXERVE_CALLBACK_ALLOW", "127.0.0.0/8,::1/128"), ("PIXERVE_QUEUE_LEASE", "2m")]));
    let allowed: Vec<_> = config.callback.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["127.0.0.0/8", "::1/128"]);
    assert_eq!(config.worker.lease, Duration::from_mins(2));
    let from_file = load(file("[callback]\nallow = [\"127.0.0.0/8\", \"::1/128\"]"));
    assert_eq!(from_file.callback.allow, config.callback.allow);
}

#[test]
fn all_errors_of_all_sources_come_at_once() {
    let mut sources =
        file("addr = \"nowhere\"\ncolour = 1\n[queue]\nlease = 60\nleese = \"60s\"\n[quue]\nlease = \"1s\"");
    sources.dotenv = variables(&[("PIXERVE_SERVER_BODY_BYTES_MAX", "lots")]);
    sources.env = variables(&[("PIXERVE_LOG", "inof"), ("PIXERVE_LOG_FORMAT", "xml")]);
    let text = errors(sources);
    for expected in [
        "there are 8 errors",
        "my.toml, line 1: addr is \"nowhere\"; expected an IP address and a port",
        "my.toml, line 2: unknown setting colour",
        "my.toml, line 4: queue.lease is \"60\"; expected a duration",
        "my.toml, line 5: unknown setting queue.leese; did you mean queue.lease?",
        "my.toml, line 6: unknown setting quue",
        ".env: PIXERVE_SERVER_BODY_BYTES_MAX is \"lots\"; expected a size",
        "environment: PIXERVE_LOG is \"inof\"; expected a log filter",
        "environment: PIXERVE_LOG_FORMAT is \"xml\"; expected \"pretty\" or \"json\"",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
}

#[test]
fn a_bad_value_is_an_error_even_where_a_later_source_outweighs_it() {
    let mut sources = file("addr = \"nowhere\"");
    sources.env = variables(&[("PIXERVE_ADDR", "10.0.0.1:1")]);
    assert!(errors(sources).contains("my.toml, line 1: addr"));
}

#[test]
fn a_table_and_a_value_are_not_mistaken_for_each_other() {
    let text = errors(file("queue = 5\n[addr]\nport = 8080"));
    assert!(text.contains("line 1: queue is \"5\"; expected a table"), "{text}");
    assert!(text.contains("line 2: addr is a table; expected an IP address"), "{text}");
}

#[test]
fn a_broken_file_is_told_by_its_lines_without_quoting_them() {
    let text = errors(file("addr = \"10.0.0.1:1\"\njwt_secret = \"hunter2\nlog = = \"info\"\n"));
    assert!(text.contains("my.toml, line 2: "), "{text}");
    assert!(text.contains("my.toml, line 3: "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_setting_given_twice_in_a_file_is_an_error() {
    assert!(errors(file("log = \"info\"\nlog = \"debug\"")).contains("my.toml, line 2: "));
}

#[test]
fn values_that_contradict_each_other_are_an_error() {
    for (variable, value, words) in [
        ("PIXERVE_QUEUE_LEASE_RENEW", "30s", "more than twice"),
        ("PIXERVE_QUEUE_OWNER_DEPTH_MAX", "10001", "must not be above queue.depth_max"),
        ("PIXERVE_QUEUE_BACKOFF_MIN", "6m", "must not be above queue.backoff_max"),
        ("PIXERVE_STORES_BACKOFF_MIN", "21s", "must not be above stores.backoff_max"),
        ("PIXERVE_CALLBACK_CONNECT_TIMEOUT", "16s", "must not be above callback.timeout"),
        ("PIXERVE_SERVER_HEADERS_BYTES_MAX", "4 KiB", "at least 8192"),
    ] {
        let text = errors(env(&[(variable, value)]));
        assert!(text.contains(words), "{variable}: {text}");
    }
}

#[test]
#[cfg(feature = "s3")]
fn what_is_served_is_in_a_directory_or_in_the_bucket_and_only_of_the_bucket_can_others_send_it() {
    let config = load(Sources::default());
    assert_eq!((config.serve, config.serve_redirect), (ServeKind::Directory, None));
    let bucket = [
        ("PIXERVE_SERVE", "bucket"),
        ("PIXERVE_SPOOL_URL", "s3://pixerve"),
        ("PIXERVE_QUEUE_URL", "redis://127.0.0.1/"),
        ("PIXERVE_SPOOL_ACCESS_KEY_ID", "id"),
        ("PIXERVE_SPOOL_SECRET_ACCESS_KEY", "secret"),
    ];
    let redirected = |to| env(&[&bucket[..], &[("PIXERVE_SERVE_REDIRECT", to)]].concat());
    let config = load(redirected("https://CDN.example"));
    assert_eq!((config.serve, config.served_dir()), (ServeKind::Bucket, None));
    assert_eq!(config.serve_redirect, RedirectOrigin::parse("https://cdn.example"));
    let text = errors(env(&[("PIXERVE_SERVE", "cloud")]));
    assert!(text.contains("PIXERVE_SERVE is \"cloud\"; expected \"directory\" or \"bucket\""), "{text}");
    for bad in ["cdn.example", "https://cdn.example/pics", "https://cdn.example/", "ftp://cdn.example"] {
        let text = errors(redirected(bad));
        assert!(text.contains("expected an origin such as \"https://cdn.example\""), "{text}");
    }
    let text = errors(env(&[("PIXERVE_SERVE_REDIRECT", "https://cdn.example")]));
    assert!(text.contains("serve_redirect is set, but serve is \"directory\""), "{text}");
    let text = errors(env(&bucket[..1]));
    assert!(text.contains("serve is \"bucket\", but there is none: spool.url is not set"), "{text}");
}

#[test]
#[cfg(feature = "s3")]
fn a_bucket_is_named_with_its_credentials_which_nothing_shows() {
    let secret = "canary-secret-of-a-bucket";
    let bucket = [
        ("PIXERVE_SPOOL_URL", "s3://pixerve/production/"),
        ("PIXERVE_QUEUE_URL", "redis://127.0.0.1/"),
        ("PIXERVE_SPOOL_ENDPOINT", "https://s3.example"),
        ("PIXERVE_SPOOL_ACCESS_KEY_ID", "id"),
        ("PIXERVE_SPOOL_SECRET_ACCESS_KEY", secret),
    ];
    let config = load(env(&bucket));
    let url = config.spool.bucket.url.as_ref().expect("a bucket");
    assert_eq!((url.bucket.as_str(), url.prefix.to_string().as_str()), ("pixerve", "production"));
    assert!(config.spool.bucket.is_path_style(), "it has an endpoint");
    assert!(!format!("{config:?}").contains(secret));
    for (variable, value, words) in [
        ("PIXERVE_SPOOL_URL", "pixerve/production", "expected a bucket such as"),
        ("PIXERVE_SPOOL_ENDPOINT", "s3.example", "expected an http:// or https:// URL"),
        ("PIXERVE_SPOOL_SECRET_ACCESS_KEY", "with a space canary-secret", "is [redacted]"),
        ("PIXERVE_SPOOL_ACCESS_KEY_ID", "", "go together"),
        ("PIXERVE_SPOOL_SECRET_ACCESS_KEY", "", "go together"),
        ("PIXERVE_QUEUE_RETENTION", "5m", "must be below queue.retention"),
    ] {
        let mut settings: Vec<_> = bucket.iter().copied().filter(|(name, _)| *name != variable).collect();
        settings.push((variable, value));
        let text = errors(env(&settings));
        assert!(text.contains(words) && !text.contains("canary-secret"), "{variable}: {text}");
    }
}

#[test]
fn a_contradiction_with_a_bad_value_is_not_guessed() {
    let text = errors(env(&[("PIXERVE_QUEUE_LEASE", "soon"), ("PIXERVE_QUEUE_LEASE_RENEW", "50s")]));
    assert!(!text.contains("twice"), "{text}");
}

#[test]
fn nothing_private_may_lie_in_the_served_directory() {
    for (variable, value) in [
        ("PIXERVE_DATA_DIR", "./serve"),
        ("PIXERVE_DATA_DIR", "serve/data"),
        ("PIXERVE_JWT_FILE", "./x/../serve/jwt.json"),
        ("PIXERVE_LOG_FILE", "serve/pixerve.log"),
        ("PIXERVE_NODE_SCRATCH_DIR", "serve/scratch"),
        ("PIXERVE_SERVE_DIR", "."),
    ] {
        let text = errors(env(&[(variable, value)]));
        assert!(text.contains("must not lie in serve_dir"), "{variable}={value}: {text}");
    }
    assert_eq!(load(env(&[("PIXERVE_DATA_DIR", "serve-data")])).data_dir, PathBuf::from("serve-data"));
}

#[test]
fn an_unknown_variable_is_a_warning_that_knows_what_was_meant() {
    let mut sources = env(&[("PIXERVE_MAX_WORKER", "2"), ("PIXERVE_SERVICE_HOST", "10.0.0.1"), ("HOME", "/root")]);
    sources.dotenv = variables(&[("PIXERVE_QUEUE_DEPHT_MAX", "2")]);
    let expected = [
        ".env: PIXERVE_QUEUE_DEPHT_MAX is no setting of Pixerve; did you mean PIXERVE_QUEUE_DEPTH_MAX?",
        "environment: PIXERVE_MAX_WORKER is no setting of Pixerve; did you mean PIXERVE_MAX_WORKERS?",
        "environment: PIXERVE_SERVICE_HOST is no setting of Pixerve",
    ];
    assert_eq!(warnings(sources), expected);
}

#[test]
fn a_setting_under_its_name_of_before_is_understood_with_a_warning() {
    let (old, new) = ("PIXERVE_WORKER_SANDBOX_KEEP", "PIXERVE_WORKER_SANDBOX_IDLE_TIMEOUT");
    for (sources, told) in [
        (env(&[(old, "0s")]), format!("environment: {old} is called {new} now")),
        (
            file("[worker]\nsandbox_keep = \"0s\"\n"),
            "my.toml, line 2: worker.sandbox_keep is called worker.sandbox_idle_timeout now".to_owned(),
        ),
    ] {
        let (config, warnings) = Config::load(sources).expect("it is understood");
        assert_eq!(config.sandbox.sandbox_idle_timeout, Duration::ZERO);
        assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
    }
}

#[test]
fn a_list_is_no_value_of_a_setting_that_has_one() {
    let text = errors(file("[auth]\nissuer = [\"a\"]\n"));
    assert!(text.contains("auth.issuer is [\"a\"]; expected"), "{text}");
}

#[test]
fn workers_out_of_range_are_clamped_with_a_warning() {
    for (given, used) in [("0", 1), ("-3", 1), ("11", 10), ("9223372036854775807", 10)] {
        let (config, warnings) = Config::load(env(&[("PIXERVE_MAX_WORKERS", given)])).expect("it is clamped");
        assert_eq!(config.worker.max_workers, used, "{given}");
        let given = given.parse().expect("a number");
        assert_eq!(warnings, [Warning::Clamped { key: "max_workers", given, used }]);
    }
    for within in ["1", "10"] {
        assert_eq!(warnings(env(&[("PIXERVE_MAX_WORKERS", within)])), [""; 0]);
    }
}

#[test]
fn workers_are_one_less_than_the_cpus_but_two_for_two_unless_told() {
    let cpus = std::thread::available_parallelism().expect("CPUs are counted").get();
    let config = load(Sources::default());
    assert_eq!(config.worker.max_workers, (cpus - 1).clamp(cpus.min(2), 10));
    assert_eq!(config.worker.encode_threads, cpus);
    assert_eq!(load(file("max_workers = 3\n[worker]\nencode_threads = 5")).worker.max_workers, 3);
}

#[test]
fn no_secret_shows_in_messages_or_in_debug_output() {
    let long = "correct horse battery staple, 32+";
    let config = load(env(&[("PIXERVE_JWT_SECRET", long)]));
    assert_eq!(config.auth.jwt_secret.as_ref().map(ExposeSecret::expose_secret), Some(long));
    assert!(!format!("{config:?}").contains("horse"));
    let text = errors(env(&[("PIXERVE_JWT_SECRET", "short horse")]));
    assert!(text.contains("PIXERVE_JWT_SECRET is [redacted]; expected a secret of at least 32 bytes"), "{text}");
    assert!(!text.contains("horse"), "{text}");
}

#[test]
fn errors_are_counted_one_by_one() {
    let errors: ConfigErrors = Config::load(file("a = 1\nb = 2")).expect_err("two unknown keys");
    assert_eq!(errors.iter().count(), 2);
    assert!(errors.to_string().starts_with("there are 2 errors in the settings:\n  - my.toml, line 1: "));
}

#[test]
fn a_start_that_would_serve_from_a_bucket_that_is_not_named_exits_with_2() {
    let dir = tempdir().expect("a directory");
    let output = pixerve(dir.path(), &["serve"], &[("PIXERVE_SERVE", "bucket"), ("PIXERVE_ADDR", "127.0.0.1:0")]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("serve is \"bucket\", but"), "{text}");
}

#[test]
fn a_start_with_wrong_settings_lists_them_all_and_exits_with_2() {
    let dir = tempdir().expect("a directory");
    write(dir.path(), "my.toml", "colour = 1");
    write(dir.path(), ".env", "PIXERVE_LOG=inof\nnot a line\n");
    for command in ["serve", "token"] {
        let output = pixerve(dir.path(), &[command, "--config", "my.toml"], &[("PIXERVE_ADDR", "nowhere")]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        for expected in
            ["4 errors", "my.toml, line 1", ".env, line 2", ".env: PIXERVE_LOG", "environment: PIXERVE_ADDR"]
        {
            assert!(text.contains(expected), "no {expected:?} in:\n{text}");
        }
    }
}

#[test]
fn a_job_for_a_token_may_come_from_the_standard_input_or_a_file_with_or_without_a_byte_order_mark() {
    let dir = tempdir().expect("a directory");
    let run = |file: &str, input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pixerve"));
        command.args(["token", "--job", file]).current_dir(dir.path()).env_clear();
        command.env("PIXERVE_JWT_SECRET", "a secret of the tests, long enough");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        // A command that reads no input may be gone already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    };
    let job = r#"{"directHost": true, "formats": {"jpg": {}}}"#;
    write(dir.path(), "job.json", &format!("\u{feff}{job}"));
    for (file, input) in [("-", job.to_owned()), ("-", format!("\u{feff}{job}")), ("job.json", String::new())] {
        let output = run(file, &input);
        assert!(output.status.success(), "{}", stderr(&output));
        let token = String::from_utf8(output.stdout).expect("a token");
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims["job"], serde_json::from_str::<Value>(job).expect("JSON"));
    }
    let output = run("-", "no JSON");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the standard input"), "{}", stderr(&output));
}

/// `pixerve token` for this job, in a directory of its own.
fn token_for(job: &str, env: &[(&str, &str)]) -> Output {
    let dir = tempdir().expect("a directory");
    write(dir.path(), "job.json", job);
    let secret = ("PIXERVE_JWT_SECRET", "a secret of the tests, long enough");
    pixerve(dir.path(), &["token", "--job", "job.json"], &[&[secret], env].concat())
}

#[test]
fn a_job_that_calls_a_forbidden_address_gets_no_token_and_is_told_the_setting() {
    let job = r#"{"directHost": true, "formats": {"jpg": {}}, "completionCallback": "http://127.0.0.1:9/hook"}"#;
    let refused = token_for(job, &[]);
    let text = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("/job/completionCallback") && text.contains("PIXERVE_CALLBACK_ALLOW"), "{text}");
    let allowed = token_for(job, &[("PIXERVE_CALLBACK_ALLOW", "127.0.0.0/8")]);
    assert!(allowed.status.success(), "{}", stderr(&allowed));
}

#[test]
fn a_token_for_one_upload_gets_an_id_of_its_own() {
    let job = r#"{"directHost": true, "formats": {"jpg": {}}, "once": true}"#;
    let jti = || {
        let output = token_for(job, &[]);
        let token = String::from_utf8(output.stdout).expect("a token");
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64");
        serde_json::from_slice::<Value>(&claims).expect("JSON")["jti"].as_str().expect("an id").to_owned()
    };
    assert_ne!(jti(), jti());
}

#[test]
fn a_missing_settings_file_is_an_error_together_with_the_others() {
    let dir = tempdir().expect("a directory");
    let output = pixerve(dir.path(), &["--config", "missing.toml"], &[("PIXERVE_ADDR", "nowhere")]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("missing.toml can't be read") && text.contains("PIXERVE_ADDR"), "{text}");
}

#[test]
fn the_environment_of_the_program_outweighs_its_dotenv() {
    let dir = tempdir().expect("a directory");
    write(dir.path(), ".env", "PIXERVE_ADDR=10.0.0.1:1\n");
    let text = stderr(&pixerve(dir.path(), &["serve"], &[("PIXERVE_ADDR", "nowhere")]));
    assert!(text.contains("environment: PIXERVE_ADDR is \"nowhere\"") && !text.contains(".env:"), "{text}");
}

#[test]
fn the_version_names_the_commit_the_time_and_the_compiler() {
    let dir = tempdir().expect("a directory");
    let output = pixerve(dir.path(), &["--version"], &[]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let built = pixerve::version::VERSION;
    for part in [built.version, built.git_commit, built.build_time, built.rust_version] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn an_avif_engine_that_is_not_compiled_in_is_an_error_that_says_so() {
    let wanted = |engine| env(&[("PIXERVE_WORKER_AVIF_ENGINE", engine)]);
    assert_eq!(load(Sources::default()).worker.avif_engine, AvifEngine::Auto);
    assert_eq!(load(wanted("ravif")).worker.avif_engine, AvifEngine::Ravif);
    if AvifEngine::Aom.is_built_in() {
        assert_eq!(load(wanted("aom")).worker.avif_engine, AvifEngine::Aom);
    } else {
        assert!(errors(wanted("aom")).contains("without the cargo feature aom"));
    }
    assert!(errors(wanted("libaom")).contains(r#"expected "auto" or "ravif" or "aom""#));
}

#[test]
fn numbers_beyond_use_are_errors_at_start_that_name_the_bound() {
    for (variable, value, told) in [
        ("PIXERVE_QUEUE_LEASE", "3ns", "queue.lease is \"3ns\", which is less than the least, 1s"),
        ("PIXERVE_SERVER_CONNECTIONS_MAX", "18446744073709551615", "1000000"),
        ("PIXERVE_WORKER_MEMORY_MAX", "40 MiB", "less than the least, 128"),
        ("PIXERVE_WORKER_MEMORY_BUDGET", "40 MiB", "less than the least, 128"),
        ("PIXERVE_CALLBACK_CONCURRENCY", "1000000", "more than the most, 10000"),
        ("PIXERVE_PIXELS_SOURCE_MAX", "1000000 MP", "more than the most, 100000 MP"),
    ] {
        let errors = errors(env(&[(variable, value)]));
        assert!(errors.contains(told), "{variable}: {errors}");
    }
}
