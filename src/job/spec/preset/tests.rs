use std::net::IpAddr;

use serde_json::json;
use url::Url;

use super::*;

/// All may be called but what is on this machine.
#[derive(Debug)]
struct NotLoopback;

impl CallbackAddresses for NotLoopback {
    fn refused(&self, url: &Url) -> Option<IpAddr> {
        url.host_str()?.parse().ok().filter(IpAddr::is_loopback)
    }
}

fn preset(job: &Value) -> Arc<Preset> {
    Arc::new(Preset::parse(job.to_string().as_bytes()).expect("a preset"))
}

fn name(text: &str) -> PresetName {
    PresetName::parse(text).expect("a name")
}

fn merged(preset_job: &Value, claim: &Value) -> MergedJob {
    MergedJob::of(Some(claim), None, |_| Some(preset(preset_job)))
}

/// What comes of a claim over a preset, without the preset's name.
fn over(preset_job: &Value, claim: &Value) -> Value {
    let mut claim = claim.clone();
    claim["preset"] = json!("avatar");
    let mut job = merged(preset_job, &claim).job.expect("a job");
    assert_eq!(job.as_object_mut().expect("an object").shift_remove("preset"), Some(json!("avatar")));
    job
}

/// The pointers of all that is wrong; each error must name this preset.
fn refused(merged: MergedJob, with: Option<&str>) -> Vec<String> {
    let errors = merged.read(SpecLimits::default(), |_, _| {}).expect_err("refused");
    for field in errors.fields() {
        assert_eq!(field.preset.as_ref().map(PresetName::as_str), with, "{errors}");
    }
    errors.fields().iter().map(|field| field.pointer.clone()).collect()
}

fn wrong_with(job: &Value) -> Vec<String> {
    let errors = preset(job).check(SpecLimits::default(), &NotLoopback).expect_err("refused");
    errors.fields().iter().map(|field| field.pointer.clone()).collect()
}

#[test]
fn what_a_token_says_stands_over_what_its_preset_says() {
    let of_preset = json!({
        "directHost": true, "subDir": "all", "priority": 1, "storageKeys": { "s3": "a", "gcs": "b" },
        "formats": { "jpg": { "sizes": [[64]] }, "webp": {} }
    });
    assert_eq!(over(&of_preset, &json!({})), of_preset);
    let over_it = over(
        &of_preset,
        &json!({ "subDir": "tenant-1", "priority": null, "storageKeys": { "s3": "c", "gcs": null }, "keepOriginal": true }),
    );
    let expected = json!({
        "directHost": true, "subDir": "tenant-1", "storageKeys": { "s3": "c" },
        "formats": { "jpg": { "sizes": [[64]] }, "webp": {} }, "keepOriginal": true
    });
    assert_eq!(over_it, expected);
}

#[test]
fn null_takes_a_field_away_and_what_is_empty_takes_nothing() {
    let of_preset = json!({
        "subDir": "all", "sizes": [[8]], "storageKeys": { "s3": "a" }, "formats": { "jpg": {} }, "directHost": true
    });
    for empty in [json!(""), json!([]), json!({})] {
        let claim: Map<String, Value> = ["subDir", "sizes", "storageKeys", "formats"]
            .map(|field| (field.to_owned(), empty.clone()))
            .into_iter()
            .collect();
        assert_eq!(over(&of_preset, &Value::Object(claim)), of_preset, "{empty}");
        assert_eq!(over(&of_preset, &json!({ "storageKeys": { "s3": empty } })), of_preset, "within, too");
    }
    let none = json!({ "subDir": null, "sizes": null, "storageKeys": null, "formats": null, "unheard": null });
    assert_eq!(over(&of_preset, &none), json!({ "directHost": true }));
    assert_eq!(over(&of_preset, &json!({ "storageKeys": { "s3": null } }))["storageKeys"], json!({}));
    // What isn't empty counts, whatever it is.
    assert_eq!(over(&of_preset, &json!({ "directHost": false, "priority": 0 }))["directHost"], json!(false));
}

#[test]
fn formats_count_as_a_whole() {
    let of_preset = json!({ "formats": { "jpg": { "sizes": [[64]] }, "avif": {} }, "directHost": true });
    let claim = json!({ "formats": { "jpg": { "settings": { "quality": 50 }, "sizes": null }, "png": null } });
    assert_eq!(over(&of_preset, &claim)["formats"], claim["formats"], "with all that is null in it");
    let headers = json!({ "callbackHeaders": { "x-empty": "", "x-a": "b" } });
    assert_eq!(over(&of_preset, &headers)["callbackHeaders"], headers["callbackHeaders"]);
}

#[test]
fn a_merged_job_is_read_as_any_and_tells_its_preset() {
    let of_preset = json!({ "directHost": true, "subDir": null, "formats": { "jpg": { "sizes": [[64]] } } });
    let claim = json!({ "preset": "avatar", "callbackHeaders": { "authorization": "hidden" }, "subDir": "t" });
    let (parsed, job) = merged(&of_preset, &claim).read(SpecLimits::default(), |_, _| {}).expect("a job");
    assert_eq!(parsed.preset, Some(name("avatar")));
    assert_eq!(parsed.spec.variants.len(), 1);
    let told =
        json!({ "preset": "avatar", "directHost": true, "subDir": "t", "formats": { "jpg": { "sizes": [[64]] } } });
    assert_eq!(parsed.job_data, told);
    assert_eq!(job["callbackHeaders"], claim["callbackHeaders"]);
}

#[test]
fn errors_of_a_merged_job_point_into_the_job_and_name_the_preset() {
    let of_preset = json!({ "directHost": true, "formats": { "jpg": { "sizes": [["x"]] } }, "fit": "stretch" });
    let claim = json!({ "preset": "avatar", "priority": 7 });
    let pointers = refused(merged(&of_preset, &claim), Some("avatar"));
    assert_eq!(pointers, ["/job/priority", "/job/fit", "/job/formats/jpg/sizes/0/0"]);
    let nothing = merged(&json!({ "formats": { "jpg": {} } }), &json!({ "preset": "avatar" }));
    assert_eq!(refused(nothing, Some("avatar")), ["/job"], "as a whole, too");
    let of_check = merged(&json!({ "keepOriginal": true, "directHost": true }), &json!({ "preset": "avatar" }));
    let errors = of_check.read(SpecLimits::default(), |_, errors| errors.push("/job/storageKeys/s3", "is unknown"));
    assert_eq!(errors.expect_err("refused").fields()[0].preset, Some(name("avatar")));
}

#[test]
fn a_preset_that_is_unknown_or_no_name_is_told_of_at_its_field() {
    let unknown = MergedJob::of(Some(&json!({ "preset": "nobody", "directHost": true })), None, |_| None);
    assert_eq!(refused(unknown, Some("nobody")), ["/job/preset"]);
    for odd in [json!("No Name"), json!(7), json!(["avatar"])] {
        let claim = json!({ "preset": odd, "directHost": true, "keepOriginal": true });
        let merged = MergedJob::of(Some(&claim), None, |name| panic!("{name} was looked for"));
        assert_eq!(refused(merged, None), ["/job/preset"]);
    }
}

#[test]
fn a_job_without_a_preset_is_what_it_was() {
    for claim in [
        json!({ "directHost": true, "keepOriginal": true }),
        json!({ "preset": null, "a": 1 }),
        json!([1]),
        json!({ "preset": "" }),
    ] {
        let merged = MergedJob::of(Some(&claim), None, |name| panic!("{name} was looked for"));
        assert_eq!((merged.job, merged.preset), (Some(claim), None));
    }
    assert_eq!(refused(MergedJob::of(None, None, |_| None), None), ["/job"]);
}

#[test]
fn a_bound_user_names_one_of_its_presets_and_says_little_else() {
    let of_preset = json!({ "directHost": true, "formats": { "jpg": {} }, "subDir": "all" });
    let bound = [name("avatar"), name("product")];
    let of = |claim: &Value| MergedJob::of(Some(claim), Some(&bound), |_| Some(preset(&of_preset)));
    let claim = json!({
        "preset": "product", "subDir": "mine", "priority": 1, "completionCallback": "https://a.example/",
        "callbackHeaders": { "authorization": "x" }, "expiresAfter": "90days"
    });
    let (parsed, _) = of(&claim).read(SpecLimits::default(), |_, _| {}).expect("a job");
    assert_eq!((parsed.spec.sub_dir.as_str(), parsed.spec.variants.len()), ("mine", 1));
    let (parsed, _) =
        of(&json!({ "preset": "avatar", "subDir": null })).read(SpecLimits::default(), |_, _| {}).expect("a job");
    assert_eq!(parsed.spec.sub_dir.as_str(), "");

    let others =
        ["formats", "sizes", "fit", "storageKeys", "directHost", "keepOriginal", "ref", "once", "maxBytes", "redirect"];
    for field in others {
        for value in [json!(null), json!(""), json!({}), json!([]), json!({ "avif": {} }), json!(true)] {
            let mut claim = json!({ "preset": "avatar" });
            claim[field] = value;
            assert_eq!(refused(of(&claim), Some("avatar")), [format!("/job/{field}")], "{claim}");
        }
    }
    let all = json!({ "preset": "hero", "formats": null, "a/b": 1 });
    assert_eq!(refused(of(&all), Some("hero")), ["/job/formats", "/job/a~1b", "/job/preset"], "each of them");
    for without in [json!({}), json!({ "subDir": "a" }), json!({ "preset": null }), json!({ "preset": "" })] {
        assert_eq!(refused(of(&without), None), ["/job/preset"], "{without}");
    }
    assert_eq!(refused(of(&json!({ "preset": 7 })), None), ["/job/preset"]);
    assert_eq!(refused(MergedJob::of(None, Some(&bound), |_| None), None), ["/job/preset"]);
}

#[test]
fn a_preset_is_checked_field_by_field_and_not_as_a_whole() {
    for part in [
        json!({}),
        json!({ "directHost": true }),
        json!({ "formats": { "jpg": {} } }),
        json!({ "preset": null, "callbackHeaders": {} }),
    ] {
        assert_eq!(preset(&part).check(SpecLimits::default(), &NotLoopback), Ok(Vec::new()), "{part}");
    }
    let stores = preset(&json!({ "storageKeys": { "s3": "pxs_1" } })).check(SpecLimits::default(), &NotLoopback);
    assert_eq!(stores.expect("good")[0].access_key, "pxs_1");
    let bad = json!({
        "typo": 1, "formats": { "jpg": { "settings": { "quality": 101 } }, "gif": {} }, "sizes": [[1, 2, 3]], "subDir": "../x",
        "completionCallback": "http://127.0.0.1/"
    });
    let pointers = wrong_with(&bad);
    for expected in
        ["/typo", "/formats/jpg/settings/quality", "/formats/gif", "/sizes/0", "/subDir", "/completionCallback"]
    {
        assert!(pointers.contains(&expected.to_owned()), "{expected} not in {pointers:?}");
    }
    let many: Vec<_> = (1..=65).map(|side| json!([side])).collect();
    assert_eq!(wrong_with(&json!({ "formats": { "jpg": { "sizes": many } } })), ["/formats"]);
}

#[test]
fn a_preset_holds_no_secret_and_no_other_preset() {
    assert_eq!(wrong_with(&json!({ "callbackHeaders": { "authorization": "x" } })), ["/callbackHeaders"]);
    assert_eq!(wrong_with(&json!({ "preset": "other" })), ["/preset"]);
}

#[test]
fn a_preset_keeps_its_text_and_has_a_digest_of_it() {
    let text = "\u{feff}{ \"priority\": 1.0,\n  \"subDir\": \"a\" }\n";
    let one = Preset::parse(text.as_bytes()).expect("a preset");
    assert_eq!(one.text(), text.trim_start_matches('\u{feff}'));
    assert_eq!(one.digest(), Preset::parse(one.text().as_bytes()).expect("a preset").digest());
    assert_ne!(one.digest(), Preset::parse(b"{}").expect("a preset").digest());
    for bad in [&b"[]"[..], b"", b"{", b"\"a\"", b"null", b"{\"a\": \xff}"] {
        assert!(matches!(Preset::parse(bad), Err(PresetError::BadJson(_))), "{bad:?}");
    }
    let sized = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(Preset::parse(sized(16 * 1024).as_bytes()).is_ok());
    assert_eq!(Preset::parse(sized(16 * 1024 + 1).as_bytes()), Err(PresetError::TooLarge { bytes: 16 * 1024 + 1 }));
}
