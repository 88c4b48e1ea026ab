//! What holds of every name, hash, directory and job, whatever a stranger wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// What directories are made of.
fn is_plain_directory(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+=,~-".contains(&b))
}

/// What names are made of.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A name as somebody honest, careless or hostile writes it.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-zA-Z0-9 ._-]{0,300}", "(\\.\\./|/|\\\\|%2e|\u{0}|\u{202e}|\u{ff0f}|[a-z.]){0,20}",]
}

fn owner() -> impl Strategy<Value = Owner> {
    // Few letters, so that different owners look alike.
    let word = "[ab._/h-]{1,6}|[ab_0]{1,8}|[a-z]{64,66}|h-[0-9a-f]{64}";
    (proptest::option::of(word), word).prop_map(|(user, sub)| Owner { user, access_key: None, sub })
}

/// One format of a job: what is asked of it, and its sizes; no sizes means the source's.
#[derive(Clone, Debug)]
struct Asked {
    quality: u8,
    speed: u8,
    fit: Fit,
    position: (i8, i8),
    background: [u8; 4],
    enlarge: bool,
    animated: bool,
    tolerant: bool,
    sizes: BTreeSet<(u32, u32)>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let fit = prop::sample::select(vec![Fit::Inside, Fit::Outside, Fit::Cover, Fit::Contain, Fit::Fill]);
    let side = || prop_oneof![0..=65_535_u32, Just(0), Just(65_535)];
    let flags = any::<[bool; 3]>();
    (0..=100_u8, 0..=10_u8, fit, (-1..=1_i8, -1..=1_i8), any::<[u8; 4]>(), flags, btree_set((side(), side()), 0..5))
        .prop_map(|(quality, speed, fit, position, background, [enlarge, animated, tolerant], sizes)| Asked {
            quality,
            speed,
            fit,
            position,
            background,
            enlarge,
            animated,
            tolerant,
            sizes,
        })
}

impl Asked {
    fn claim(&self, format: Format) -> Value {
        let word = |negative, zero, positive, at: i8| [negative, zero, positive][usize::try_from(at + 1).expect("0-2")];
        let position = format!(
            "{} {}",
            word("left", "center", "right", self.position.0),
            word("top", "center", "bottom", self.position.1)
        );
        let mut claim = json!({
            "settings": { "quality": self.quality, "speed": self.speed },
            "fit": self.fit, "position": position, "background": format!("#{}", hex::encode(self.background)),
            "enlarge": self.enlarge, "tolerant": self.tolerant,
            "sizes": self.sizes.iter().map(|(w, h)| if w == h { json!([w]) } else { json!([w, h]) }).collect::<Vec<_>>(),
        });
        if format.info().animation {
            claim["animated"] = json!(self.animated);
        }
        claim
    }

    fn variants(&self, format: Format) -> Vec<VariantSpec> {
        let whole = BTreeSet::from([(0, 0)]);
        let sizes = if self.sizes.is_empty() { &whole } else { &self.sizes };
        let variant = |&(width, height): &(u32, u32)| VariantSpec {
            format,
            width,
            height,
            quality: Some(self.quality).filter(|quality| *quality > 0),
            speed: Some(self.speed).filter(|speed| *speed > 0),
            fit: self.fit,
            position: Position { x: self.position.0, y: self.position.1 },
            background: Background(self.background),
            enlarge: self.enlarge,
            animated: self.animated && format.info().animation,
            tolerant: self.tolerant,
        };
        sizes.iter().map(variant).collect()
    }
}

fn parse(job: &Value) -> Result<ParsedJob, ClaimErrors> {
    ParsedJob::from_claim(Some(job), SpecLimits::default())
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    any_json().prop_map(|json| match json {
        Value::Object(fields) => fields,
        other => Map::from_iter([("subDir".to_owned(), other)]),
    })
}

fn is_empty(value: &Value) -> bool {
    [json!(null), json!(""), json!([]), json!({})].contains(value)
}

/// JSON of any shape, with the fields that a job has.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        name().prop_map(Value::from),
    ];
    let field = "formats|jpg|webp|sizes|settings|quality|subDir|storageKeys|s3|completionCallback|callback(Headers|Events)\
                 |[a-z/~]{0,8}";
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(field, inner, 0..6).prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

proptest! {
    #[test]
    fn a_stem_is_short_and_plain_and_stays_what_it_is(name in name()) {
        let stem = Stem::of(&name).to_string();
        prop_assert!((1..=80).contains(&stem.len()) && is_plain(&stem), "{stem}");
        prop_assert_eq!(Stem::of(&format!("{stem}.jpg")).to_string(), stem);
    }

    #[test]
    fn every_name_of_a_file_is_one_plain_segment_that_a_disk_can_hold(
        name in name(), owner in owner(), (height, width) in (0..=65_535_u32, 0..=65_535_u32),
    ) {
        let (hash, stem) = (HashKey::new(&ContentHash::of(name.as_bytes()), &owner), Stem::of(&name));
        for format in Format::ALL {
            for file in [
                variant_name(&hash, &stem, height, width, format),
                original_name(&hash, &stem, SourceFormat::Tiff),
                manifest_name(&hash, &stem),
            ] {
                prop_assert!(is_plain(&file) && !file.starts_with('.') && file.len() <= 255, "{file}");
            }
        }
    }

    /// Read from its end, a name gives back all that it was made of. So no two are the same that differ in any of it.
    #[test]
    fn no_two_names_of_different_owners_bytes_files_sizes_or_kinds_are_the_same(
        owner in owner(), bytes in 0..3_u8, name in prop_oneof![name(), "[ab_0.]{0,9}"],
        (height, width) in (0..=65_535_u32, 0..=65_535_u32),
        (format, source) in (prop::sample::select(Format::ALL.to_vec()), prop::sample::select(SourceFormat::ALL.to_vec())),
    ) {
        let (hash, stem) = (HashKey::new(&ContentHash::of(&[bytes]), &owner), Stem::of(&name));
        let variant = variant_name(&hash, &stem, height, width, format);
        let parts: Vec<&str> = variant.rsplitn(5, '_').collect();
        let expected = [format!(".{}", format.extension()), width.to_string(), height.to_string(), stem.to_string(), hash.to_string()];
        prop_assert_eq!(parts, expected);
        // No original's last part starts with the dot of its extension, since no stem is empty.
        let (original, manifest) = (original_name(&hash, &stem, source), manifest_name(&hash, &stem));
        let parts = original.rsplit_once('_').and_then(|(hash, file)| Some((hash, file.rsplit_once('.')?)));
        let stem = stem.to_string();
        prop_assert_eq!(parts, Some((hash.as_str(), (stem.as_str(), source.extension()))));
        // The owner is what stands behind the first `_` of a hash: see the next test.
        let (content, owner) = (ContentHash::of(&[bytes]).to_string(), owner.hash_part());
        prop_assert_eq!(hash.as_str().split_once('_'), Some((content.as_str(), owner.as_str())));
        for name in [&variant, &original, &manifest] {
            prop_assert_eq!(FileName::parse(name).map(|read| (read.to_string(), read.head)), Some((name.clone(), NameHead::Hash(hash.clone()))));
        }
        // The same job, were it unique, has other names, whoever's id its owner took for a subject.
        let id = JobId::from_bytes([1, 2, 3, 4, 5, 6, 0x70, bytes, 0x80, 1, 2, 3, 4, 5, 6, 7]);
        let stem = Stem::of(&name);
        for name in [variant_name(id, &stem, height, width, format), original_name(id, &stem, source), manifest_name(id, &stem)] {
            prop_assert!(FileName::is_unique(&name) && name.len() <= 255, "{}", name);
            prop_assert_eq!(FileName::parse(&name).map(|read| read.to_string()), Some(name));
        }
    }

    #[test]
    fn different_owners_never_share_a_hash(owners in proptest::collection::vec(owner(), 2..12)) {
        let content = ContentHash::of(b"the same bytes");
        let mut seen: HashMap<HashKey, &Owner> = HashMap::new();
        for owner in &owners {
            let hash = HashKey::new(&content, owner);
            prop_assert!(is_plain(hash.as_str()), "{hash}");
            prop_assert_eq!(HashKey::parse(hash.as_str()), Some(hash.clone()));
            if let Some(other) = seen.insert(hash, owner) {
                prop_assert_eq!(other, owner);
            }
        }
    }

    #[test]
    fn a_directory_that_is_taken_is_plain_and_stays_what_it_is(text in prop_oneof![name(), "[a-z.@~=]{0,3}(/[a-z.,+]{0,3}){0,9}"]) {
        if let Some(sub_dir) = SubDir::parse(&text) {
            prop_assert_eq!(SubDir::parse(sub_dir.as_str()), Some(sub_dir.clone()));
            let from = text.strip_prefix('/').unwrap_or(&text);
            prop_assert_eq!(sub_dir.as_str(), from.strip_suffix('/').unwrap_or(from));
            prop_assert!(sub_dir.segments().count() <= SubDir::SEGMENTS_MAX);
            for segment in sub_dir.segments() {
                prop_assert!(is_plain_directory(segment) && !segment.starts_with('.') && segment.len() <= 64, "{segment}");
            }
            let key = sub_dir.join("x.jpg");
            prop_assert!(!key.starts_with('/') && !key.contains("//") && key.ends_with("x.jpg"), "{key}");
        }
    }

    #[test]
    fn what_is_asked_is_what_is_understood(
        formats in btree_map(prop::sample::select(Format::ALL.to_vec()), asked(), 1..=4),
        (queued, keep_original, store) in any::<(bool, bool, bool)>(),
    ) {
        let formats: BTreeMap<Format, Asked> = formats;
        let mut job = json!({
            "priority": u8::from(queued), "keepOriginal": keep_original, "directHost": true, "subDir": "a/b",
            "formats": formats.iter().map(|(f, a)| (f.extension().to_owned(), a.claim(*f))).collect::<Map<_, _>>(),
        });
        let mut storage = Vec::new();
        if store {
            job["storageKeys"] = json!({ "gcs": "pxs_1" });
            storage.push(StorageKey { backend: BackendKind::Gcs, access_key: "pxs_1".to_owned() });
        }
        let expected = JobSpec {
            priority: if queued { Priority::Queued } else { Priority::Realtime },
            keep_original,
            direct_host: true,
            private: false,
            unique: false,
            storage,
            sub_dir: SubDir::parse("a/b").expect("plain"),
            variants: formats.iter().flat_map(|(format, asked)| asked.variants(*format)).collect(),
            placeholder: true,
            manifest: false,
            expires_after: None,
        };
        let parsed = parse(&job).map_err(|errors| TestCaseError::fail(format!("{errors}: {job}")))?;
        prop_assert_eq!(&parsed.spec, &expected);
        // As the manifest and the database hold it.
        let written = serde_json::to_string(&parsed.spec).expect("it is JSON");
        prop_assert_eq!(serde_json::from_str::<JobSpec>(&written).expect("it reads what it wrote"), expected);
    }

    #[test]
    fn a_size_is_taken_up_to_65535_and_not_beyond(width in any::<i64>(), height in -5..=65_540_i64) {
        for (sides, values) in [(json!([width, height]), vec![width, height]), (json!([height]), vec![height])] {
            let job = json!({ "directHost": true, "formats": { "png": { "sizes": [sides] } } });
            let fine = values.iter().all(|side| (0..=65_535).contains(side));
            prop_assert_eq!(parse(&job).is_ok(), fine, "{}", sides);
        }
    }

    #[test]
    fn any_claim_over_any_preset_is_what_both_say_and_a_good_job_or_is_told_what_is_wrong(
        of_preset in any_object(), claim in any_object(),
    ) {
        let (mut of_preset, mut claim) = (of_preset, claim);
        of_preset.shift_remove("preset");
        claim.insert("preset".to_owned(), json!("p"));
        let preset = Arc::new(Preset::parse(Value::Object(of_preset.clone()).to_string().as_bytes()).expect("an object"));
        let merged = MergedJob::of(Some(&Value::Object(claim.clone())), None, |_| Some(preset));
        let job = merged.job.as_ref().and_then(Value::as_object).expect("an object").clone();
        for field in of_preset.keys().chain(claim.keys()) {
            let found = job.get(field);
            match claim.get(field) {
                Some(Value::Null) => prop_assert_eq!(found, None, "{}", field),
                Some(Value::Object(fields)) if !fields.is_empty() && field != "formats" && field != "callbackHeaders" => {
                    prop_assert!(found.is_some_and(Value::is_object), "{}", field);
                }
                Some(said) if !is_empty(said) => prop_assert_eq!(found, Some(said), "{}", field),
                _ => prop_assert_eq!(found, of_preset.get(field), "{}", field),
            }
        }
        if let Err(errors) = merged.read(SpecLimits::default(), |_, _| {}) {
            for field in errors.fields() {
                prop_assert!(field.pointer.starts_with("/job") && field.preset.is_some(), "{errors}");
            }
        }
    }

    #[test]
    fn any_json_is_a_good_job_or_is_told_what_is_wrong(job in any_json()) {
        match parse(&job) {
            Ok(parsed) => {
                prop_assert!(parsed.spec.variants.len() <= 64 && parsed.spec.file_count() > 0);
                prop_assert!(parsed.spec.direct_host || !parsed.spec.storage.is_empty());
                prop_assert!(parsed.job_data.get("callbackHeaders").is_none());
            }
            Err(errors) => prop_assert!(errors.to_string().contains("/job"), "{errors}"),
        }
    }
}
