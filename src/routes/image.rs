//! `GET|HEAD /image/{id}`: one address for a picture, whatever it was made into. Of a job's variants each client is shown the one
//! that suits it best; none is made for it.

mod choice;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{CACHE_CONTROL, CONTENT_LOCATION, LOCATION, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};

use self::choice::{SizeBox, Wish, candidates, choose};
use super::accept::Accept;
use super::extract::{JobQuery, find_known};
use super::files::{FileBytes, FileSource, allowed, refuse};
use super::problem::refusals;
use super::snapshot::with_progress;
use super::{AppState, Refusal};
use crate::job::{Format, JobId, State as JobState};

const PREFIX: &str = "/image/";
pub(super) const PATH: &str = "/image/{id}";
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Of a job that has ended: a later one may have the same hash.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// Of one by its id, whose files nobody ever writes again.
const LONG_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=86400");
/// How many pixels wide a picture is shown, which browsers say where they are asked to (`Accept-CH`).
const SEC_CH_WIDTH: HeaderName = HeaderName::from_static("sec-ch-width");
const ACCEPT_CH: HeaderName = HeaderName::from_static("accept-ch");
/// As wide as a picture can be.
const WIDTH_MAX: u32 = 65_535;

/// What that route is described as.
#[derive(OpenApi)]
#[openapi(paths(image))]
pub(super) struct Described;

/// Which variant is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ImageQuery {
    /// How many pixels wide it is shown: the narrowest that is no narrower, or the widest. Without it the widest.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 65535)]
    w: Option<String>,
    /// One of the job's boxes, as it asked for it: `800x600`, `800x0`. Without it those that show all of the picture.
    #[serde(rename = "box")]
    #[param(nullable = false)]
    size: Option<String>,
    /// One of the job's formats, or `auto`: what `Accept` names.
    #[param(nullable = false)]
    format: Option<String>,
    /// `true`: the file's own address, by 302.
    #[param(value_type = bool, required = false)]
    redirect: Option<String>,
}

/// The same, as far as it can be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    wish: Wish,
    /// A format that no job has.
    asks_for_nothing: bool,
    redirects: bool,
}

impl Request {
    fn parse(query: ImageQuery) -> Result<Self, Refusal> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let bad = |what: &str| Refusal::BadParameter(what.to_owned());
        let width = given(query.w).map(|text| {
            let width = number(&text).filter(|width| (1..=WIDTH_MAX).contains(width));
            width.ok_or_else(|| bad("`w` must be a whole number of pixels from 1 to 65535"))
        });
        let size = given(query.size).map(|text| {
            size_box(&text).ok_or_else(|| bad("`box` must be a width and a height as the job has them: 800x600, 800x0"))
        });
        let redirects = match given(query.redirect).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(bad("`redirect` must be true or false")),
        };
        let named = given(query.format).filter(|name| name != "auto");
        let format = named.as_deref().map(Format::from_claim);
        let wish = Wish { width: width.transpose()?, size: size.transpose()?, format: format.flatten() };
        Ok(Self { wish, asks_for_nothing: format == Some(None), redirects })
    }
}

fn number(text: &str) -> Option<u32> {
    // A sign is part of a number to `parse`.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn size_box(text: &str) -> Option<SizeBox> {
    let (width, height) = text.split_once('x')?;
    Some([number(width)?, number(height)?])
}

#[derive(Clone)]
struct Images {
    state: AppState,
    files: Arc<FileSource>,
}

/// The route that shows what `files` has of each job.
pub(super) fn router(state: AppState, files: Arc<FileSource>) -> Router {
    Router::new().route(PATH, any(image)).with_state(Images { state, files })
}

refusals!(ImageRefusals: BadRequest, BadParameter, NotFound, NotReady, PreconditionFailed, RangeNotSatisfiable, DiskFull, Unavailable);

/// A picture, as it suits who asks
///
/// One of the variants that the job stored under `directHost`: of those that fit what is asked for, in a format that `Accept`
/// names, the one with the fewest bytes. Never the original, and nothing is converted. An element `<img>` needs no other
/// address, and a cache has to mind `Vary`.
#[utoipa::path(
    get, path = "/image/{id}", tag = "Files", operation_id = "image",
    params(
        ("id" = String, Path, description = "A job's `hash`, for the newest with that, or its `job_id`."),
        ImageQuery,
        ("Accept" = Option<String>, Header, nullable = false, description = "`image/avif` and `image/webp` are sent to who names them."),
        ("Sec-CH-Width" = Option<String>, Header, nullable = false, description = "As `w`, where `images.client_hints` is on."),
        ("Range" = Option<String>, Header, nullable = false, description = "Which bytes are wanted."),
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "An `ETag` that is known.")
    ),
    responses(
        (
            status = 200, description = "The file.", content_type = "image/*", body = inline(FileBytes),
            headers(
                ("ETag" = String, description = "Stands for these bytes."),
                ("Content-Location" = String, description = "The file's own address."),
                ("Vary" = String, description = "`Accept`, unless `format` was given."),
                ("Cache-Control" = String, description = "`no-store` until the job has ended.")
            )
        ),
        (
            status = 206, description = "A part of the file.", content_type = "image/*", body = inline(FileBytes),
            headers(
                ("ETag" = String, description = "Stands for the bytes of the whole file."),
                ("Content-Range" = String, description = "Which part."),
                ("Content-Location" = String, description = "The file's own address."),
                ("Vary" = String, description = "`Accept`, unless `format` was given.")
            )
        ),
        (
            status = 304, description = "It is as known.",
            headers(
                ("ETag" = String, description = "That."),
                ("Vary" = String, description = "`Accept`, unless `format` was given.")
            )
        ),
        (
            status = 302, description = "With `redirect=true`, or where somebody else sends the files of this server.",
            headers(
                ("Location" = String, description = "The file's own address."),
                ("Vary" = String, description = "`Accept`, unless `format` was given.")
            )
        ),
        ImageRefusals
    )
)]
async fn image(
    State(Images { state, files }): State<Images>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let hints = state.http.client_hints;
    let query = Query::<ImageQuery>::try_from_uri(&uri);
    let query = query.map(|Query(query)| query).map_err(|error| Refusal::BadParameter(error.body_text()));
    let is_by_accept = query
        .as_ref()
        .map_or(true, |query| query.format.as_deref().is_none_or(|format| format.is_empty() || format == "auto"));
    let answered = match method {
        Method::GET | Method::HEAD => match query.and_then(Request::parse) {
            Ok(request) => show(&state, &files, &request, &method, &uri, &headers).await,
            Err(refusal) => Err(refusal),
        },
        Method::OPTIONS => return allowed(),
        _ => Err(Refusal::MethodNotAllowed),
    };
    let mut response = answered.unwrap_or_else(|refusal| {
        let mut response = refuse(refusal);
        // What there is not today may be there tomorrow.
        response.headers_mut().entry(CACHE_CONTROL).or_insert(NO_STORE);
        response
    });
    let own = response.headers_mut();
    let varies = match (is_by_accept, hints) {
        (true, true) => Some("Accept, Sec-CH-Width"),
        (true, false) => Some("Accept"),
        (false, true) => Some("Sec-CH-Width"),
        (false, false) => None,
    };
    if let Some(varies) = varies {
        own.append(VARY, HeaderValue::from_static(varies));
    }
    if hints {
        own.insert(ACCEPT_CH, HeaderValue::from_static("Sec-CH-Width"));
    }
    response
}

async fn show(
    state: &AppState,
    files: &FileSource,
    request: &Request,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let id = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let is_by_id = id.parse::<JobId>().is_ok();
    let query = if is_by_id {
        JobQuery { hash: None, job_id: Some(id.to_owned()) }
    } else {
        JobQuery { hash: Some(id.to_owned()), job_id: None }
    };
    let (job, progress) = with_progress(state, find_known(state, &query).await?).await?;
    let record = &job.record;
    let has_box = |size| record.spec.variants.iter().any(|variant| [variant.width, variant.height] == size);
    let has_format = |format| record.spec.variants.iter().any(|variant| variant.format == format);
    if request.asks_for_nothing || !request.wish.format.is_none_or(has_format) || !request.wish.size.is_none_or(has_box)
    {
        return Err(Refusal::NotFound("the job has no variant of this `box` or `format`".into()));
    }
    let stored = progress.map_or(job.files, |progress| progress.files);
    let hinted = || state.http.client_hints.then(|| headers.get(SEC_CH_WIDTH)?.to_str().ok().and_then(number))?;
    let wish = Wish { width: request.wish.width.or_else(hinted), ..request.wish.clone() };
    let candidates = candidates(record, &stored);
    let own = (record.original.width, record.original.height);
    let Some(chosen) = choose(&candidates, own, &wish, &Accept::of(headers)) else {
        return Err(match job.state {
            JobState::Pending | JobState::Processing => Refusal::NotReady,
            _ => Refusal::NotFound("nothing is stored here of the job's variants".into()),
        });
    };
    let cache = match job.state.is_terminal() {
        true if is_by_id && record.spec.unique => LONG_CACHE,
        true => CACHE,
        false => NO_STORE,
    };
    let location = state.http.public_url.path(&chosen.location);
    let location = HeaderValue::try_from(location).map_err(|error| Refusal::Internal(error.to_string()))?;
    let mut response = if request.redirects {
        (StatusCode::FOUND, [(LOCATION, location)]).into_response()
    } else {
        let mut response = files.answer(method, &chosen.location, headers).await?;
        response.headers_mut().insert(CONTENT_LOCATION, location);
        response
    };
    response.headers_mut().insert(CACHE_CONTROL, cache);
    Ok(response)
}
