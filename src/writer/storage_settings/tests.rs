use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::json;

use super::*;
use crate::job::BackendKind;

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIIC\n-----END PRIVATE KEY-----\n";

fn account() -> Value {
    json!({"type": "service_account", "client_email": "p@x.iam.gserviceaccount.com", "private_key": PEM})
}

fn s3_body() -> Value {
    json!({
        "type": "s3", "user": "shop", "bucket": "pics", "region": "eu-central-1", "access_key_id": "AKIA1",
        "secret_access_key": "sEcReT/+=", "endpoint": "https://s3.example.org:9000", "prefix": "/a/b/", "path_style": false
    })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

fn pointers(body: &Value) -> Vec<String> {
    let errors = StorageSettings::from_request(body).expect_err("refused");
    errors.fields().iter().map(|f| f.pointer.clone()).collect()
}

#[test]
fn a_whole_s3_registration_is_understood() {
    let StorageSettings::S3(s3) = StorageSettings::from_request(&s3_body()).expect("valid") else { panic!("not S3") };
    assert_eq!((s3.bucket.as_str(), s3.region.as_str(), s3.access_key_id.as_str()), ("pics", "eu-central-1", "AKIA1"));
    assert_eq!(s3.secret_access_key.expose_secret(), "sEcReT/+=");
    assert_eq!(s3.endpoint.expect("endpoint").as_str(), "https://s3.example.org:9000/");
    assert_eq!((s3.prefix.to_string().as_str(), s3.path_style), ("a/b", Some(false)));
}

#[test]
fn classic_spellings_are_understood() {
    let body = json!({"type": "s3", "bucket_name": "pics", "region": "auto", "accessKey": "id", "secretKey": "secret"});
    let StorageSettings::S3(s3) = StorageSettings::from_request(&body).expect("valid") else { panic!("not S3") };
    assert_eq!((s3.bucket.as_str(), s3.access_key_id.as_str()), ("pics", "id"));
    assert_eq!(s3.secret_access_key.expose_secret(), "secret");
    let body = json!({"type": "gcs", "bucket_name": "pics", "credentialsJSON": account().to_string()});
    assert_eq!(StorageSettings::from_request(&body).expect("valid").kind(), BackendKind::Gcs);
}

#[test]
fn a_field_in_two_spellings_is_refused_unless_one_is_empty() {
    for (body, name, value) in [
        (s3_body(), "bucket_name", json!("pics")),
        (s3_body(), "secretKey", json!([null])),
        (json!({"type": "gcs", "bucket": "pics", "credentials": account()}), "credentialsJSON", account()),
    ] {
        assert_eq!(pointers(&with(body.clone(), name, value)), [format!("/{name}")]);
        assert!(StorageSettings::from_request(&with(body, name, json!(""))).is_ok(), "{name}");
    }
}

#[test]
fn the_schemas_take_what_is_taken_and_refuse_what_is_refused() {
    let schemas: serde_json::Map<_, _> =
        StorageSettings::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let absent = json!({ "enum": [null, "", [], {}] });
    let validators: Vec<_> = schemas
        .values()
        .map(|schema| {
            let mut schema = schema.clone();
            schema["components"] = json!({ "schemas": { "Absent": absent } });
            jsonschema::draft202012::new(&schema).expect("a schema")
        })
        .collect();
    let gcs = json!({"type": "gcs", "bucket": "pics", "credentials": account(), "prefix": "a/b"});
    let emulated = json!({"type": "gcs", "bucket_name": "pics", "endpoint": "http://127.0.0.1:9/gcs/"});
    let classic =
        json!({"type": "s3", "bucket_name": "pics", "region": "auto", "accessKey": "id", "secretKey": "secret"});
    let bodies = [s3_body(), gcs, emulated, classic];
    let values = [
        json!(null),
        json!(""),
        json!([]),
        json!({}),
        json!(true),
        json!(5),
        json!("x"),
        json!("a..b"),
        json!("../x"),
        json!("/a//"),
        json!("https://a.example/b"),
        json!("https://a.example/?b"),
        json!("https://me@a.example"),
        json!("a b"),
        json!("pics"),
        account(),
    ];
    let names: Vec<_> =
        schemas.values().flat_map(|schema| schema["properties"].as_object().expect("fields").keys().cloned()).collect();
    let mut tried = 0;
    for (body, name) in bodies.iter().flat_map(|body| names.iter().map(move |name| (body, name))) {
        for value in &values {
            let changed = with(body.clone(), name, value.clone());
            let mut taken = StorageSettings::from_request(&changed).is_ok();
            // Whether a user is registered is asked later, but not what else it might be.
            taken &= name != "user" || value.is_string() || value.is_null();
            // What is in a string is looked at by nobody but the parser.
            if name.starts_with("credentials") && value.is_string() {
                continue;
            }
            let described = validators.iter().filter(|validator| validator.is_valid(&changed)).count();
            assert_eq!(described, usize::from(taken), "{changed}: {:?}", StorageSettings::from_request(&changed).err());
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn a_service_account_may_come_as_object_string_or_base64() {
    let text = account().to_string();
    let mut lines = BASE64_STANDARD.encode(serde_json::to_string_pretty(&account()).expect("JSON"));
    lines.insert(60, '\n');
    for credentials in [account(), json!(text), json!(BASE64_STANDARD.encode(&text)), json!(lines)] {
        let body = json!({"type": "gcs", "bucket": "pics", "credentials": credentials});
        let StorageSettings::Gcs(gcs) = StorageSettings::from_request(&body).expect("valid") else { panic!("not GCS") };
        let kept: Value = serde_json::from_str(gcs.credentials.expect("credentials").expose_secret()).expect("JSON");
        assert_eq!(kept, account());
    }
}

#[test]
fn base64_may_be_padded_or_not_and_of_either_alphabet_under_either_name() {
    // Lengths of every remainder, with bytes that become the signs in which the alphabets differ.
    for filler in ["?>~", "?>~?", "?>~?>"] {
        let mut account = account();
        account["project_id"] = json!(filler);
        let text = account.to_string();
        for engine in [BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD] {
            let packed = engine.encode(&text);
            for name in ["credentials", "credentialsJSON"] {
                let body = json!({"type": "gcs", "bucket": "pics", name: packed});
                let Ok(StorageSettings::Gcs(gcs)) = StorageSettings::from_request(&body) else { panic!("{packed}") };
                let kept: Value =
                    serde_json::from_str(gcs.credentials.expect("credentials").expose_secret()).expect("JSON");
                assert_eq!(kept, account);
            }
        }
    }
}

#[test]
fn only_an_emulator_needs_no_credentials() {
    assert_eq!(pointers(&json!({"type": "gcs", "bucket": "pics"})), ["/credentials"]);
    let body = json!({"type": "gcs", "bucket": "pics", "endpoint": "http://127.0.0.1:9023", "credentials": {}});
    assert!(StorageSettings::from_request(&body).is_ok());
}

#[test]
fn every_bad_field_is_named_at_once() {
    let found = pointers(&json!({
        "type": "s3", "bucket": "a..b", "region": "eu central", "access_key_id": 5, "secret_access_key": "new\nline",
        "endpoint": "ftp://x", "prefix": "a/../b", "path_style": "yes", "extra": 1
    }));
    let expected =
        ["/bucket", "/region", "/access_key_id", "/secret_access_key", "/endpoint", "/prefix", "/path_style", "/extra"];
    assert_eq!(found, expected);
    assert_eq!(
        pointers(&json!({"type": "s3"})),
        ["/bucket", "/region", "/access_key_id", "/secret_access_key"],
        "missing fields are named by their present spelling"
    );
    assert_eq!(
        pointers(&json!({"type": "gcs", "bucket_name": "-", "credentialsJSON": {"type": "authorized_user"}})),
        ["/bucket_name", "/credentialsJSON/type", "/credentialsJSON/client_email", "/credentialsJSON/private_key"]
    );
    for body in [json!({}), json!({"type": "azure"}), json!({"type": 5})] {
        assert_eq!(pointers(&body), ["/type"]);
    }
    assert_eq!(pointers(&json!([1])), [""]);
}

#[test]
fn endpoints_must_be_plain_web_addresses() {
    for bad in [
        "http://user:pass@x",
        "http://user@x",
        "file:///etc",
        "//x",
        "x:9000",
        "http://x/?a=b",
        "http://x/#f",
        "http://",
    ] {
        assert_eq!(pointers(&with(s3_body(), "endpoint", json!(bad))), ["/endpoint"], "{bad}");
    }
    for good in ["http://127.0.0.1:9000", "https://minio.example.org/base", "http://[::1]:9000"] {
        assert!(StorageSettings::from_request(&with(s3_body(), "endpoint", json!(good))).is_ok(), "{good}");
    }
}

#[test]
fn prefixes_stay_prefixes() {
    for bad in ["..", "a/../b", "a//b", ".", "a b", "ä", "a\\b", &"x".repeat(513)] {
        assert_eq!(pointers(&with(s3_body(), "prefix", json!(bad))), ["/prefix"], "{bad}");
    }
    for (good, kept) in [("a", "a"), ("/a/b/", "a/b"), ("", ""), ("/", ""), (".well-known/x", ".well-known/x")] {
        let settings = StorageSettings::from_request(&with(s3_body(), "prefix", json!(good))).expect("valid");
        let StorageSettings::S3(s3) = settings else { panic!("not S3") };
        assert_eq!(s3.prefix.to_string(), kept);
    }
}

#[test]
fn settings_survive_being_sealed_and_debug_shows_no_secret() {
    let bodies = [s3_body(), json!({"type": "gcs", "bucket": "pics", "credentials": account(), "prefix": "p"})];
    for body in bodies {
        let settings = StorageSettings::from_request(&body).expect("valid");
        let sealed = serde_json::to_string(&settings).expect("serializes");
        let back: StorageSettings = serde_json::from_str(&sealed).expect("deserializes");
        assert_eq!(serde_json::to_string(&back).expect("serializes"), sealed);
        assert!(sealed.contains("sEcReT") || sealed.contains("BEGIN PRIVATE KEY"));
        let shown = format!("{settings:?}");
        assert!(!shown.contains("sEcReT") && !shown.contains("BEGIN"), "{shown}");
    }
}

proptest! {
    #[test]
    fn a_refusal_shows_no_value(field in "[a-zA-Z_]{1,20}", canary in "canary[ -~\n]{1,40}") {
        for body in [s3_body(), json!({"type": "gcs", "bucket": "pics", "credentials": account()})] {
            for value in [json!(canary), json!({"x": canary}), json!([canary])] {
                for name in [field.as_str(), "bucket", "region", "access_key_id", "secret_access_key", "endpoint", "prefix",
                    "path_style", "credentials", "type"] {
                    if let Err(errors) = StorageSettings::from_request(&with(body.clone(), name, value.clone())) {
                        prop_assert!(!errors.to_string().contains("canary"), "{errors}");
                    }
                }
            }
        }
    }
}
