use super::*;
use crate::job::CallbackEvent;

fn parse(job: &Value) -> Result<ParsedJob, ClaimErrors> {
    ParsedJob::from_claim(Some(job), SpecLimits::default())
}

fn pointers(job: &Value) -> Vec<String> {
    parse(job).expect_err("refused").fields().iter().map(|f| f.pointer.clone()).collect()
}

#[test]
fn the_contracts_own_example_is_understood() {
    let job = parse(&json!({
        "completionCallback": "https://my-app.example/hidden-webhook?key=hidden",
        "callbackHeaders": {"Authorization": "Bearer token"}, "callbackEvents": ["job.cancelled", "job.failed"],
        "priority": 0, "keepOriginal": false,
        "formats": {
            "jpg": {"settings": {"quality": 80, "speed": 1}, "sizes": [[800, 600], [400]]},
            "webp": {"settings": {"quality": 85, "speed": 2}, "sizes": [[800], [400]]},
            "avif": {"settings": {"quality": 60, "speed": 6}, "sizes": [[1600, 0]]}
        },
        "storageKeys": {"s3": "ak-1", "gcs": "ak-2"},
        "directHost": true, "subDir": "tenant-123"
    }))
    .expect("valid");
    let sizes: Vec<_> = job.spec.variants.iter().map(|v| (v.format, v.width, v.height, v.quality, v.speed)).collect();
    assert_eq!(
        sizes,
        [
            (Format::Jpeg, 800, 600, Some(80), Some(1)),
            (Format::Jpeg, 400, 400, Some(80), Some(1)),
            (Format::Webp, 800, 800, Some(85), Some(2)),
            (Format::Webp, 400, 400, Some(85), Some(2)),
            (Format::Avif, 1600, 0, Some(60), Some(6)),
        ]
    );
    assert_eq!(job.callback_headers.len(), 1);
    assert_eq!(job.callback_events, CallbackEvents::new(&[CallbackEvent::Failed, CallbackEvent::Cancelled]));
    let shown = job.job_data.to_string();
    for secret in ["Bearer token", "ak-1", "ak-2", "hidden"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn empty_optionals_mean_absent() {
    let job = parse(&json!({
        "completionCallback": "", "callbackHeaders": {}, "storageKeys": null, "subDir": "", "directHost": true,
        "formats": {"png": {"settings": null, "sizes": []}, "jpg": null}, "fit": "", "priority": null
    }))
    .expect("valid");
    assert_eq!(job.spec.variants.len(), 2);
    assert!(job.callback_url.is_none());
}

#[test]
fn every_bad_field_is_named_at_once() {
    let found = pointers(&json!({
        "directHost": "yes", "priority": 2, "typo": 1, "subDir": "../x", "fit": "stretch",
        "completionCallback": "ftp://example.org", "callbackEvents": ["job.failed", "job.done"],
        "callbackHeaders": {"Host": "x", "a": "b\r\nc", "webhook-id": "1"},
        "storageKeys": {"s3": 5, "azure": "x"},
        "formats": {
            "gif": {}, "jpg": {"settings": {"quality": 101, "speed": -1, "more": 0}, "sizes": [[-1], [1, 2, 3], [2_147_483_648_u32], "x"]},
            "a/b": {}
        }
    }));
    for expected in [
        "/job/directHost",
        "/job/priority",
        "/job/typo",
        "/job/subDir",
        "/job/fit",
        "/job/completionCallback",
        "/job/callbackEvents/1",
        "/job/callbackHeaders/Host",
        "/job/callbackHeaders/a",
        "/job/callbackHeaders/webhook-id",
        "/job/storageKeys/s3",
        "/job/storageKeys/azure",
        "/job/formats/gif",
        "/job/formats/jpg/settings/quality",
        "/job/formats/jpg/settings/speed",
        "/job/formats/jpg/settings/more",
        "/job/formats/jpg/sizes/0/0",
        "/job/formats/jpg/sizes/1",
        "/job/formats/jpg/sizes/2/0",
        "/job/formats/jpg/sizes/3",
        "/job/formats/a~1b",
    ] {
        assert!(found.contains(&expected.to_owned()), "{expected} not in {found:?}");
    }
}

#[test]
fn two_variants_of_one_name_are_refused() {
    let found = pointers(
        &json!({"directHost": true, "formats": {"jpg": {"sizes": [[400], [400, 400]]}, "jpeg": {"sizes": [[400]]}}}),
    );
    assert_eq!(found, ["/job/formats/jpg/sizes/1", "/job/formats/jpeg/sizes/0"]);
}

#[test]
fn a_million_sizes_cost_little() {
    let sizes: Vec<_> = (0..1_000_000u32).map(|n| json!([n % 60_000, n % 7])).collect();
    let errors = parse(&json!({"directHost": true, "formats": {"jpg": {"sizes": sizes}}})).expect_err("too many");
    assert!(errors.fields().len() <= 50);
}

#[test]
fn a_job_must_ask_for_something_and_put_it_somewhere() {
    assert_eq!(pointers(&json!({"formats": {"jpg": {}}})), ["/job"]);
    assert_eq!(pointers(&json!({"directHost": true})), ["/job/formats"]);
    assert!(parse(&json!({"directHost": true, "keepOriginal": true})).is_ok());
    assert!(ParsedJob::from_claim(None, SpecLimits::default()).is_err());
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_store_that_this_build_cannot_write_to_is_refused_by_name() {
    let errors = parse(&json!({"storageKeys": {"s3": "pxs_1"}, "formats": {"jpg": {}}})).expect_err("refused");
    let [field] = errors.fields() else { panic!("{errors}") };
    assert_eq!(field.pointer, "/job/storageKeys/s3");
    assert!(field.detail.contains("feature `s3`"), "{errors}");
}

#[test]
fn a_whole_number_is_one_however_it_is_written() {
    let claim = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let job = r#"{"directHost": true, "priority": 1.0, "formats": {"jpg": {"settings": {"quality": 8e1, "speed": 3.0},
        "sizes": [[800.0, 6e2], [4.0e2], [0.0]]}}}"#;
    let spec = parse(&claim(job)).expect("a job").spec;
    let sizes: Vec<_> = spec.variants.iter().map(|v| (v.width, v.height, v.quality, v.speed)).collect();
    assert_eq!(spec.priority, Priority::Queued);
    assert_eq!(sizes, [(800, 600, Some(80), Some(3)), (400, 400, Some(80), Some(3)), (0, 0, Some(80), Some(3))]);

    let job = r#"{"directHost": true, "priority": 0.5, "formats": {"jpg": {"settings": {"quality": 80.5, "speed": -1.0},
        "sizes": [[800.5, 600], [1e300], [-4.0]]}}}"#;
    assert_eq!(
        pointers(&claim(job)),
        [
            "/job/priority",
            "/job/formats/jpg/settings/quality",
            "/job/formats/jpg/settings/speed",
            "/job/formats/jpg/sizes/0/0",
            "/job/formats/jpg/sizes/1/0",
            "/job/formats/jpg/sizes/2/0"
        ]
    );
}

#[test]
fn sizes_of_the_job_are_those_of_every_format_that_has_none_of_its_own() {
    let job = parse(&json!({
        "directHost": true, "sizes": [[800], [400, 300]],
        "formats": { "avif": {}, "webp": { "sizes": [] }, "jpg": { "sizes": [[0, 64]] } }
    }))
    .expect("valid");
    let boxes: Vec<_> = job.spec.variants.iter().map(|v| (v.format.extension(), v.width, v.height)).collect();
    let both = |format| [(format, 800, 800), (format, 400, 300)];
    assert_eq!(boxes, [&both("avif")[..], &both("webp"), &[("jpg", 0, 64)]].concat());

    let bad = json!({ "directHost": true, "sizes": [[800], "x"], "formats": { "avif": {}, "webp": {} } });
    assert_eq!(pointers(&bad), ["/job/sizes/1"], "said once, not for each format");
    let twice = json!({ "directHost": true, "sizes": [[800], [800]], "formats": { "webp": {} } });
    assert_eq!(pointers(&twice), ["/job/sizes/1"]);
    let none = json!({ "directHost": true, "sizes": 800, "formats": { "webp": {} } });
    assert_eq!(pointers(&none), ["/job/sizes"]);
}
