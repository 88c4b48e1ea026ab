//! `/presets`: jobs, whole or in part, that tokens name instead of bringing them. For admins.

use std::ops::Bound;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Admin, StrictParameters, read_body};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::job::{ClaimErrors, Preset, PresetError, PresetName};
use crate::register::PresetSource;

/// Presets in a page, where the client doesn't say.
const LIMIT_DEFAULT: usize = 50;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PresetsQuery {
    /// Presets at most; what is more than 200 counts as 200.
    #[param(nullable = false, default = 50)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// A page of presets, by name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`list` writes it; here is what clients read")]
struct PresetsPage {
    presets: Vec<ListedPreset>,
    count: usize,
    /// The `cursor` of the next page; none after the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ListedPreset {
    name: PresetName,
    from: PresetSourceWord,
    /// The job, whole or in part.
    #[schema(value_type = Object)]
    job: Value,
}

/// `file`: a file of `presets_dir`, which is changed there. `put`: a request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PresetSourceWord {
    File,
    Put,
}

refusals!(PresetsRefusals: BadParameter, Unauthorized, Forbidden);
refusals!(PresetRefusals: Unauthorized, Forbidden, NotFound, PreconditionFailed);
refusals!(
    PutPresetRefusals: BadRequest, BadJson, Unauthorized, Forbidden, PresetFromFile, TooManyPresets, PreconditionFailed, TooLarge,
    InvalidFields, DiskFull, Paused, Unavailable
);
refusals!(
    DeletePresetRefusals: Unauthorized, Forbidden, NotFound, PresetFromFile, PreconditionFailed, DiskFull, Unavailable
);

/// What presets there are, by name
#[utoipa::path(
    get, path = "/presets", tag = "Presets", operation_id = "presets", security(("token" = ["admin"])), params(PresetsQuery),
    responses((status = 200, description = "A page.", body = PresetsPage), PresetsRefusals)
)]
pub(super) async fn list(
    State(state): State<AppState>,
    _: Admin,
    StrictParameters(query): StrictParameters<PresetsQuery>,
) -> Result<Json<Value>, Refusal> {
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, Preset::COUNT_MAX);
    let after = match query.cursor.filter(|cursor| !cursor.is_empty()) {
        None => None,
        Some(cursor) => {
            let bad = || Refusal::BadParameter("`cursor` must be the `next_cursor` of the page before".to_owned());
            Some(PresetName::parse(&cursor).ok_or_else(bad)?)
        }
    };
    let all = state.presets.list();
    let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = all.range((begin, Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let next = rest.next().and(page.last()).map(|(name, _)| *name);
    let presets: Vec<_> = page.iter().map(|(name, (source, preset))| shown(name, *source, preset)).collect();
    Ok(Json(json!({ "presets": presets, "count": presets.len(), "next_cursor": next })))
}

fn shown(name: &PresetName, source: PresetSource, preset: &Preset) -> ListedPreset {
    let from = match source {
        PresetSource::File => PresetSourceWord::File,
        PresetSource::Put => PresetSourceWord::Put,
    };
    ListedPreset { name: name.clone(), from, job: preset.job().clone() }
}

/// One preset, as it was put
#[utoipa::path(
    get, path = "/presets/{name}", tag = "Presets", operation_id = "preset", security(("token" = ["admin"])),
    params(
        ("name" = inline(PresetName), Path, description = "The preset's."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that it must have, or `*`.", nullable = false),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of what is known.", nullable = false)
    ),
    responses(
        (
            status = 200, description = "The job, whole or in part.", body = Object,
            headers(("ETag" = String, description = "Stands for this text."))
        ),
        (
            status = 304, description = "It is what is known.",
            headers(("ETag" = String, description = "That."))
        ),
        PresetRefusals
    )
)]
pub(super) async fn preset(
    State(state): State<AppState>,
    _: Admin,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let preset = named(name).and_then(|name| state.presets.find(&name)).ok_or_else(unknown)?;
    let etag = etag_of(&preset);
    if headers.typed_get::<IfMatch>().is_some_and(|tags| !tags.precondition_passes(&etag)) {
        return Err(Refusal::PresetChanged);
    }
    let is_known = headers.typed_get::<IfNoneMatch>().is_some_and(|tags| !tags.precondition_passes(&etag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, JSON)], preset.text().to_owned()).into_response()
    };
    response.headers_mut().typed_insert(etag);
    Ok(response)
}

/// Keeps a preset under a name
///
/// It is checked field by field; whether the whole is a job is known once a token adds its part. Jobs that were accepted stay as they are.
/// The media type of the request doesn't matter.
#[utoipa::path(
    put, path = "/presets/{name}", tag = "Presets", operation_id = "put_preset", security(("token" = ["admin"])),
    params(
        ("name" = inline(PresetName), Path, description = "The preset's."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the preset that this is to replace, or `*` for any.", nullable = false),
        ("If-None-Match" = Option<String>, Header, description = "`*`, if nothing is to be replaced.", nullable = false)
    ),
    request_body(content = ref("#/components/schemas/Preset"), content_type = "application/json"),
    responses(
        (
            status = 201, description = "It is kept, and is new.",
            headers(
                ("ETag" = String, description = "Stands for this text."),
                ("Location" = String, description = "Where it is.")
            )
        ),
        (
            status = 204, description = "It is kept in the place of another.",
            headers(("ETag" = String, description = "Stands for this text."))
        ),
        PutPresetRefusals
    )
)]
pub(super) async fn put(
    State(state): State<AppState>,
    _: Admin,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    let name =
        named(name).ok_or_else(|| Refusal::BadRequest(format!("the path must end with {}", PresetName::RULE)))?;
    if state.presets.is_from_file(&name) {
        return Err(Refusal::PresetFromFile(name));
    }
    let condition = Condition::of(request.headers());
    let body = read_body(request, Preset::BYTES_MAX).await?;
    let preset = Preset::parse(&body).map_err(|error| match error {
        PresetError::TooLarge { .. } => Refusal::BodyTooLarge { bytes_max: Preset::BYTES_MAX as u64 },
        PresetError::BadJson(detail) => Refusal::BadJson(detail),
    })?;
    let stores = preset.check(state.spec_limits, &*state.callback_addresses)?;
    let mut errors = ClaimErrors::default();
    state.presets.check_stores(&stores, &mut errors).await?;
    errors.or(())?;

    let etag = etag_of(&preset);
    let is_new = state.presets.put(name.clone(), preset, move |before| condition.holds(before)).await?;
    info!(preset = %name, is_new, "preset kept");
    let mut response = if is_new {
        let location = state.http.public_url.path(&format!("/presets/{name}"));
        (StatusCode::CREATED, [(LOCATION, location)]).into_response()
    } else {
        StatusCode::NO_CONTENT.into_response()
    };
    response.headers_mut().typed_insert(etag);
    Ok(response)
}

/// Removes a preset
///
/// Tokens that name it are refused from then on. Jobs that were accepted go on.
#[utoipa::path(
    delete, path = "/presets/{name}", tag = "Presets", operation_id = "delete_preset", security(("token" = ["admin"])),
    params(
        ("name" = inline(PresetName), Path, description = "The preset's."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the preset that is to go.", nullable = false)
    ),
    responses((status = 204, description = "It is removed."), DeletePresetRefusals)
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    _: Admin,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let name = named(name).ok_or_else(unknown)?;
    let condition = Condition::of(&headers);
    state.presets.delete(name.clone(), move |before| condition.holds(before)).await?;
    info!(preset = %name, "preset removed");
    Ok(StatusCode::NO_CONTENT)
}

/// The name in a path; none of a path that no preset has.
fn named(name: Result<Path<String>, PathRejection>) -> Option<PresetName> {
    let Path(name) = name.ok()?;
    PresetName::parse(&name)
}

fn unknown() -> Refusal {
    Refusal::NotFound("there is no preset of this name".into())
}

/// A strong tag: the text is answered byte by byte.
fn etag_of(preset: &Preset) -> ETag {
    format!("\"{}\"", preset.digest()).parse().expect("INVARIANT: hex digits in quotes are an entity tag")
}

/// What must hold of what is there for a request to be done (RFC 9110, section 13). A tag that is none matches nothing.
struct Condition {
    matches: Option<IfMatch>,
    matches_none: Option<IfNoneMatch>,
}

impl Condition {
    fn of(headers: &HeaderMap) -> Self {
        Self { matches: headers.typed_get(), matches_none: headers.typed_get() }
    }

    fn holds(&self, before: Option<&Preset>) -> bool {
        match before.map(etag_of) {
            Some(etag) => {
                self.matches.as_ref().is_none_or(|tags| tags.precondition_passes(&etag))
                    && self.matches_none.as_ref().is_none_or(|tags| tags.precondition_passes(&etag))
            }
            // `*` says that there is something.
            None => self.matches.is_none(),
        }
    }
}

/// What `PUT` reads: a job of which any part may be left out.
pub(super) fn preset_schema() -> Value {
    json!({
        "description": "A job, whole or in part. It has no `preset`, no `callbackHeaders`, and no store that belongs to a user.",
        "allOf": [{ "$ref": "#/components/schemas/Job" }],
        "properties": {
            "preset": { "$ref": "#/components/schemas/Absent" },
            "callbackHeaders": { "$ref": "#/components/schemas/Absent" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pairs: &[(&'static str, &str)], before: Option<&Preset>) -> bool {
        let headers = pairs.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"))
        });
        Condition::of(&headers.collect()).holds(before)
    }

    #[test]
    fn a_condition_is_about_the_very_text_that_is_there() {
        let preset = Preset::parse(b"{}").expect("a preset");
        let (there, tag) = (Some(&preset), format!("\"{}\"", preset.digest()));
        assert!(holds(&[], None) && holds(&[], there));
        let (listed, weak) = (format!("\"other\", {tag}"), format!("W/{tag}"));
        for (value, matches) in
            [("*", true), (&*tag, true), (&*listed, true), ("\"other\"", false), (&*weak, false), ("odd", false)]
        {
            assert_eq!(holds(&[("if-match", value)], there), matches, "{value}");
            assert!(!holds(&[("if-match", value)], None), "{value}");
        }
        for (value, matches) in [("*", false), (&*tag, false), (&*weak, false), ("\"other\"", true)] {
            assert_eq!(holds(&[("if-none-match", value)], there), matches, "{value}");
            assert!(holds(&[("if-none-match", value)], None), "{value}");
        }
        assert!(!holds(&[("if-match", &tag), ("if-none-match", "*")], there));
    }
}
