//! The `job` claim as JSON Schema, beside the parser that it has to agree with: it is never stricter, and looser only where a
//! rule spans several fields.

use serde_json::{Map, Value, json};

use super::parse::BOX_SIDE_MAX;
use super::{BackendKind, Background, Fit, Format, Position, SubDir};
use crate::job::{CallbackEvent, PresetName};

/// Where components refer to each other in an OpenAPI document.
const COMPONENTS: &str = "#/components/schemas/";
/// Where they do in a JSON Schema of its own.
const DEFINITIONS: &str = "#/$defs/";
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

const JOB: &str = "Job";

/// The components of an OpenAPI document that `Job` is one of, by their names.
#[must_use]
pub fn job_components() -> Map<String, Value> {
    let mut components = Map::new();
    let mut add = |name: &str, schema: Value| components.insert(name.to_owned(), schema);
    add(JOB, job());
    add("JobFormat", object("One format of a job, and what is set for it alone.", format_fields()));
    add("JobSize", size());
    add("Absent", absent());
    components
}

/// The same as a JSON Schema of its own.
#[must_use]
pub fn job_schema() -> Value {
    let mut definitions = job_components();
    let job = definitions.shift_remove(JOB).unwrap_or_default();
    let mut schema = json!({ "$schema": DIALECT, "title": "The `job` claim of a token for Pixerve" });
    if let (Value::Object(schema), Value::Object(job)) = (&mut schema, job) {
        schema.extend(job);
    }
    schema["$defs"] = Value::Object(definitions);
    refer_to_definitions(&mut schema);
    schema
}

fn refer_to_definitions(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "$ref" => *text = text.replace(COMPONENTS, DEFINITIONS),
                    value => refer_to_definitions(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(refer_to_definitions),
        _ => {}
    }
}

fn job() -> Value {
    let formats =
        Format::ALL.into_iter().map(Format::info).flat_map(|info| [&[info.file.extension], info.aliases].concat());
    let formats = formats.map(|name| (name, optional(json!({ "$ref": reference("JobFormat") }))));
    let events = CallbackEvent::ALL.map(CallbackEvent::word);
    let mut fields = fields([
        (
            "preset",
            described(
                "The preset that the rest is merged over: what is `null` here takes a field of the preset away; `formats` counts as a whole.",
                json!({ "type": "string", "pattern": PresetName::PATTERN }),
            ),
        ),
        (
            "completionCallback",
            described(
                "Where to tell of the job's end.",
                json!({ "type": "string", "format": "uri", "maxLength": 2048 }),
            ),
        ),
        (
            "callbackHeaders",
            described(
                "Headers that are sent along; none that belong to the connection, to Pixerve or begin with `webhook-`.",
                json!({ "type": "object", "maxProperties": 16, "additionalProperties": { "type": "string" } }),
            ),
        ),
        (
            "callbackEvents",
            described(
                "What is told; the first two by default.",
                json!({ "type": "array", "items": { "enum": events } }),
            ),
        ),
        (
            "priority",
            described("0 realtime (the default), 1 queued.", json!({ "type": "integer", "minimum": 0, "maximum": 1 })),
        ),
        (
            "ref",
            described(
                "What the caller calls the job, at most 256 bytes; it comes back in every answer about it.",
                json!({ "type": "string", "maxLength": 256 }),
            ),
        ),
        ("maxBytes", described("Bytes that the uploaded file may have.", json!({ "type": "integer", "minimum": 1 }))),
        (
            "once",
            described(
                "Whether the token, which needs a `jti` then, is good for one upload.",
                json!({ "type": "boolean" }),
            ),
        ),
        (
            "onDuplicate",
            described(
                "What to do with bytes that are being worked on: refuse them (the default), or let another job on them wait.",
                json!({ "enum": ["refuse", "queue"] }),
            ),
        ),
        (
            "redirect",
            described(
                "Where a form without JavaScript is sent.",
                json!({ "type": "string", "format": "uri", "maxLength": 2048 }),
            ),
        ),
        ("formats", described("What to make.", object("", self::fields(formats)))),
    ]);
    fields.extend(what_is_kept());
    fields.extend(variant_options());
    let rules = "What to do with an upload. With what its preset has, it names a format or sets `keepOriginal`, and sets `directHost` or names a store; \
        it asks for no more variants than `/limits` says, for none twice, and animates no format that can't be animated.";
    object(rules, fields)
}

/// What is kept besides variants, where, under which names, and for how long.
fn what_is_kept() -> Map<String, Value> {
    let stores = BackendKind::ALL.into_iter().filter(|kind| kind.info().built_in).map(|kind| {
        let key =
            json!({ "type": "string", "maxLength": 128, "description": "The `access_key` that `/register` gave." });
        (kind.as_str(), optional(key))
    });
    fields([
        (
            "placeholder",
            described(
                "Whether a ThumbHash and a colour are made, to stand in the picture's place; without, they are.",
                json!({ "type": "boolean" }),
            ),
        ),
        (
            "manifest",
            described(
                "Whether what a page needs to show the picture is stored beside it, as JSON: what `/manifest` answers once the \
                 job has completed.",
                json!({ "type": "boolean" }),
            ),
        ),
        ("keepOriginal", described("Whether the uploaded bytes are stored too.", json!({ "type": "boolean" }))),
        ("directHost", described("Whether the files are served under `/files/`.", json!({ "type": "boolean" }))),
        (
            "private",
            described(
                "Whether those files are private, under `/private/`: served to whoever has a token with a `read` claim. Takes \
                 `directHost`, and no `storageKeys`.",
                json!({ "type": "boolean" }),
            ),
        ),
        (
            "unique",
            described(
                "Whether the names of files begin with the job's id, so that they are never written again and may be kept by \
                 caches for good; without, as the server's `storage.unique` says.",
                json!({ "type": "boolean" }),
            ),
        ),
        (
            "subDir",
            described(
                "Directories below the serve directory, or below a store's prefix.",
                json!({ "type": "string", "pattern": SubDir::PATTERN }),
            ),
        ),
        ("storageKeys", described("Registered stores that get every file.", object("", fields(stores)))),
        (
            "expiresAfter",
            described(
                "How long after its end the job is erased, with all that is stored of it: 1h to 3650days. Without it, what the \
                 server has set, or never.",
                json!({ "type": "string", "examples": ["90days"] }),
            ),
        ),
    ])
}

fn format_fields() -> Map<String, Value> {
    let settings = fields([
        (
            "quality",
            described(
                "1 to 100; 0 is the format's default.",
                json!({ "type": "integer", "minimum": 0, "maximum": 100 }),
            ),
        ),
        (
            "speed",
            described(
                "1 (slowest, smallest) to 10 (fastest); 0 is the format's default.",
                json!({ "type": "integer", "minimum": 0, "maximum": 10 }),
            ),
        ),
    ]);
    let mut fields = fields([("settings", described("How it is encoded.", object("", settings)))]);
    fields.extend(variant_options());
    fields
}

/// What a job sets for all its formats and a format may set for itself.
fn variant_options() -> Map<String, Value> {
    fields([
        (
            "sizes",
            described(
                "The boxes that variants fit in; without, one variant of the source's size.",
                json!({ "type": "array", "items": { "$ref": reference("JobSize") } }),
            ),
        ),
        ("fit", described("How the picture meets its box.", json!({ "enum": Fit::ALL }))),
        (
            "position",
            described(
                "What `cover` keeps, and where `contain` puts the picture: one or two of top, bottom, left, right, center.",
                json!({ "type": "string", "pattern": Position::PATTERN }),
            ),
        ),
        (
            "background",
            described(
                "What shows where the picture doesn't.",
                json!({ "type": "string", "pattern": Background::PATTERN }),
            ),
        ),
        ("enlarge", described("Whether a picture smaller than its box grows.", json!({ "type": "boolean" }))),
        ("animated", described("Whether an animation stays one.", json!({ "type": "boolean" }))),
        ("tolerant", described("Whether a truncated file is good enough.", json!({ "type": "boolean" }))),
    ])
}

fn size() -> Value {
    json!({
        "description": "A box in pixels: `[width, height]`, or `[n]` for n x n; 0 leaves a side free.",
        "type": "array", "minItems": 1, "maxItems": 2,
        "items": { "type": "integer", "minimum": 0, "maximum": BOX_SIDE_MAX },
        "examples": [[800, 600], [400], [1600, 0]],
    })
}

/// Clients in Go send these for what isn't set.
fn absent() -> Value {
    json!({ "description": "As good as no field at all.", "enum": [null, "", [], {}] })
}

fn reference(component: &str) -> String {
    format!("{COMPONENTS}{component}")
}

fn fields(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
    fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn described(description: &str, schema: Value) -> Value {
    let mut described = json!({ "description": description });
    if let (Value::Object(described), Value::Object(optional)) = (&mut described, optional(schema)) {
        described.extend(optional);
    }
    described
}

/// What may be left out in any of the ways in which clients do that.
#[expect(clippy::needless_pass_by_value, reason = "it is written where it is passed")]
pub(crate) fn optional(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "$ref": reference("Absent") }] })
}

/// An object of these fields and no others.
fn object(description: &str, fields: Map<String, Value>) -> Value {
    let mut object = json!({ "type": "object" });
    if !description.is_empty() {
        object["description"] = description.into();
    }
    object["properties"] = Value::Object(fields);
    object["additionalProperties"] = false.into();
    object
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use jsonschema::Validator;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof};
    use proptest::sample::select;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::job::{ClaimErrors, ParsedJob, SpecLimits};

    /// What the parser refuses that no schema of single fields can: each is told by its words.
    const SPANNING: [&str; 11] = [
        "is missing: the token must carry the job",
        "asks for nothing",
        "its results would go nowhere",
        "needs directHost",
        "can't go with storageKeys",
        "asks for more than",
        "a second variant of the same format and size",
        "only webp can be animated",
        "is set by Pixerve or belongs to the connection",
        "not a valid header",
        "must be an absolute http:// or https:// URL",
    ];

    fn validator() -> Validator {
        jsonschema::draft202012::new(&job_schema()).expect("a schema")
    }

    fn parse(job: &Value) -> Result<ParsedJob, ClaimErrors> {
        ParsedJob::from_claim(Some(job), SpecLimits::default())
    }

    /// The fields that the parser says it knows in the object at `pointer` of `job`, which has an unknown one.
    fn known_fields(job: &Value, pointer: &str) -> BTreeSet<String> {
        let errors = parse(job).expect_err("it has an unknown field");
        let error = errors.fields().iter().find(|error| error.pointer == pointer).expect(pointer);
        let (_, known) = error.detail.split_once("known are ").expect("a list");
        known.split(", ").map(str::to_owned).collect()
    }

    fn described_fields(schema: &Value) -> BTreeSet<String> {
        assert_eq!(schema["additionalProperties"], json!(false), "{schema}");
        schema["properties"].as_object().expect("an object's").keys().cloned().collect()
    }

    #[test]
    fn the_schema_has_the_fields_that_the_parser_knows_and_no_others() {
        let unknown = json!({
            "?": 1, "directHost": true, "storageKeys": { "?": 1 }, "formats": { "jpg": { "?": 1, "settings": { "?": 1 } } }
        });
        let components = job_components();
        let format = &components["JobFormat"];
        let inner = |schema: &Value, field: &str| schema["properties"][field]["anyOf"][0].clone();
        for (pointer, schema) in [
            ("/job/?", components["Job"].clone()),
            ("/job/storageKeys/?", inner(&components["Job"], "storageKeys")),
            ("/job/formats/jpg/?", format.clone()),
            ("/job/formats/jpg/settings/?", inner(format, "settings")),
        ] {
            assert_eq!(described_fields(&schema), known_fields(&unknown, pointer), "{pointer}");
        }
        let formats = described_fields(&inner(&components["Job"], "formats"));
        assert!(formats.iter().all(|name| Format::from_claim(name).is_some()));
        assert!(formats.contains("jpeg") && formats.len() > Format::ALL.len());
    }

    #[test]
    fn the_schema_takes_the_contracts_own_example() {
        let job = json!({
            "completionCallback": "https://my-app.example/webhook", "callbackHeaders": { "Authorization": "Bearer token" },
            "priority": 0, "keepOriginal": false,
            "formats": {
                "jpg": { "settings": { "quality": 80, "speed": 1 }, "sizes": [[800, 600], [400]] },
                "avif": { "settings": { "quality": 60, "speed": 6 }, "sizes": [[1600, 0]] }
            },
            "storageKeys": { "s3": "key" }, "directHost": true, "subDir": "tenant-123", "fit": "cover", "position": "right top"
        });
        let validator = validator();
        assert!(validator.is_valid(&job));
        for (field, value) in
            [("fit", json!("stretch")), ("typo", json!(1)), ("priority", json!(2)), ("subDir", json!("../x"))]
        {
            let mut job = job.clone();
            job[field] = value;
            assert!(!validator.is_valid(&job), "{field}");
        }
    }

    fn leaf() -> impl Strategy<Value = Value> {
        let words = [
            "",
            "x",
            "inside",
            "fill",
            "stretch",
            "center",
            "right top",
            "top right",
            " left\tcentre ",
            "left right",
            "top top",
            "white",
            "#f80",
            "#ff880040",
            "#ff",
            "red",
            "a/b",
            "/a/",
            "//",
            ".a",
            "a b",
            "https://a.example/x",
            "job.failed",
        ];
        prop_oneof![
            select(words.to_vec()).prop_map(Value::from),
            "[a-z#/. 0-9]{0,8}".prop_map(Value::from),
            select(vec![
                json!(null),
                json!([]),
                json!({}),
                json!(-1),
                json!(80.0),
                json!(80.5),
                json!(101),
                json!(65_536)
            ]),
            (0_u8..12).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
        ]
    }

    /// What a field of this name may be, in several ways of writing it.
    fn good(name: &str) -> Vec<Value> {
        let values = match name {
            "completionCallback" => json!(["https://a.example/x", "http://a.example", ""]),
            "callbackHeaders" => json!([{ "x-a": "b" }, {}]),
            "callbackEvents" => json!([["job.failed"], ["job.cancelled", "job.completed"], []]),
            "priority" => json!([0, 1, 1.0, null]),
            "preset" => json!(["avatar", "p-1_", ""]),
            "subDir" => json!(["a/b", "/a/", "", "//"]),
            "storageKeys" => json!([{ "s3": "key" }, { "gcs": null }, { "s3": "key", "gcs": "key" }]),
            "sizes" => json!([[[800, 600], [400]], [[0]], [[16.0, 0]], []]),
            "settings" => json!([{ "quality": 80, "speed": 0 }, { "quality": 1.0 }, {}, null]),
            "fit" => json!(["inside", "outside", "cover", "contain", "fill", ""]),
            "position" => json!(["center", "right top", " left\tcentre ", "centre center"]),
            "background" => json!(["white", "transparent", "#f80", "#f808", "#Ff8800", "#ff880040"]),
            "typo" => json!([1]),
            _ => json!([true, false, null]),
        };
        values.as_array().cloned().unwrap_or_default()
    }

    /// An object of some of these fields, good ones most of the time.
    fn object_of(names: &[&'static str]) -> impl Strategy<Value = Value> + use<> {
        let field = select(names.to_vec()).prop_flat_map(|name| {
            let value =
                prop_oneof![24 => select(good(name)), 1 => leaf(), 1 => vec(leaf(), 0..3).prop_map(Value::from)];
            (Just(name.to_owned()), value)
        });
        vec(field, 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect()))
    }

    const OPTIONS: [&str; 7] = ["sizes", "fit", "position", "background", "enlarge", "animated", "tolerant"];

    fn claim() -> impl Strategy<Value = Value> {
        let format_fields = [&OPTIONS[..], &["settings"]].concat();
        let format = prop_oneof![12 => object_of(&format_fields), 1 => leaf()];
        let names = prop_oneof![24 => select(vec!["jpg", "jpeg", "png", "webp", "avif"]), 1 => Just("gif")];
        let formats = btree_map(names.prop_map(str::to_owned), format, 0..4)
            .prop_map(|formats| Value::Object(formats.into_iter().collect()));
        let job_fields = [
            "preset",
            "completionCallback",
            "callbackHeaders",
            "callbackEvents",
            "priority",
            "keepOriginal",
            "manifest",
            "private",
            "unique",
            "subDir",
            "storageKeys",
        ];
        let fields = prop_oneof![
            12 => object_of(&[&job_fields[..], &OPTIONS].concat()),
            1 => object_of(&["typo", "sizes", "callbackHeaders"])
        ];
        (fields, prop_oneof![12 => formats, 1 => leaf()], prop_oneof![12 => Just(json!(true)), 1 => leaf()]).prop_map(
            |(mut job, formats, direct_host)| {
                job["formats"] = formats;
                job["directHost"] = direct_host;
                job
            },
        )
    }

    #[test]
    fn the_schema_and_the_parser_refuse_the_same_but_for_rules_that_span_fields() {
        let (validator, taken, spanning) = (validator(), Cell::new(0), Cell::new(0));
        let is_spanning = |detail: &str| SPANNING.iter().any(|rule| detail.starts_with(rule));
        let agree = |job: Value| {
            let is_described = validator.is_valid(&job);
            match parse(&job) {
                Ok(_) => {
                    prop_assert!(is_described, "the schema is stricter than the parser: {job}");
                    taken.set(taken.get() + 1);
                }
                Err(errors) if is_described => {
                    let is_beyond = errors.fields().iter().all(|error| is_spanning(&error.detail));
                    prop_assert!(is_beyond, "the schema takes {job}: {errors}");
                    spanning.set(spanning.get() + 1);
                }
                Err(_) => {}
            }
            Ok(())
        };
        let config = Config { cases: 4000, failure_persistence: None, ..Config::default() };
        let tried = TestRunner::new(config).run(&claim(), agree);
        tried.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(taken.get() > 100 && spanning.get() > 20, "{taken:?} were taken, {spanning:?} refused by such rules");
    }
}
