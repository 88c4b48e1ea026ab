//! `/register`: users and their storage. For admins, but for a user's own webhook secret.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::info;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::extract::{Admin, Caller, Parameters, read_json};
use super::problem::refusals;
use super::{AppState, Refusal};
use crate::auth::Scope;
use crate::job::{BackendKind, ClaimErrors, Preset, PresetName};
use crate::register::{self, EntryKind, NewStore, RegisterEntry, RegisterError, Registration, RotatedSecret};
use crate::setting::parse_duration;
use crate::writer::{ProbeOutcome, StorageSettings};

/// For how long a user's secret is taken beside its successor: as long as a token is good at most.
const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
/// Beyond it one would have two secrets, and have rotated neither.
const OVERLAP_MAX: Duration = Duration::from_hours(365 * 24);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RegisterQuery {
    /// Whether a store is first tried: a probe object is written and deleted.
    #[serde(default)]
    verify: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeregisterQuery {
    /// Of a user or a store.
    #[param(required = true, nullable = false, min_length = 1)]
    access_key: Option<String>,
    /// Whether a store goes although jobs that have not ended have files for it. They fail.
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangeQuery {
    /// Of a user or a store.
    #[param(required = true, nullable = false, min_length = 1)]
    access_key: Option<String>,
    /// Whether a store is first tried: a probe object is written and deleted.
    #[serde(default)]
    verify: bool,
}

/// What is answered to a registration.
enum RegisteredAnswer {}

impl PartialSchema for RegisteredAnswer {
    fn schema() -> RefOr<Schema> {
        // Not `oneOf`, as the derive has it: a user's answer has all that a store's needs.
        let either = AnyOfBuilder::new().item(Ref::from_schema_name(NewUser::name()));
        either.item(Ref::from_schema_name(RegisteredStore::name())).into()
    }
}

impl ToSchema for RegisteredAnswer {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((NewUser::name().into(), NewUser::schema()));
        schemas.push((RegisteredStore::name().into(), RegisteredStore::schema()));
        NewUser::schemas(schemas);
    }
}

/// A user, with its secrets, which are never shown again.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct NewUser {
    /// What its tokens carry as `kid`.
    access_key: String,
    /// What it signs tokens with, as UTF-8 bytes.
    secret: String,
    algorithm: SigningAlgorithm,
    /// What callbacks about its jobs are signed with.
    webhook_secret: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
enum SigningAlgorithm {
    #[schema(rename = "HS256")]
    Hs256,
}

/// A store.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct RegisteredStore {
    /// What jobs call it in `storageKeys`.
    access_key: String,
    /// What the trial left behind.
    #[schema(nullable = false)]
    note: Option<String>,
}

/// What is answered to a change.
enum ChangedAnswer {}

impl PartialSchema for ChangedAnswer {
    fn schema() -> RefOr<Schema> {
        let any = AnyOfBuilder::new().item(Ref::from_schema_name(RotatedUser::name()));
        let any = any.item(Ref::from_schema_name(BoundUser::name()));
        any.item(Ref::from_schema_name(RegisteredStore::name())).into()
    }
}

impl ToSchema for ChangedAnswer {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((RotatedUser::name().into(), RotatedUser::schema()));
        schemas.push((BoundUser::name().into(), BoundUser::schema()));
        RotatedUser::schemas(schemas);
        BoundUser::schemas(schemas);
    }
}

/// A user's new secret, which is never shown again.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct RotatedUser {
    /// What its tokens carry as `kid`, as before.
    access_key: String,
    /// What it signs tokens with, as UTF-8 bytes.
    secret: String,
    algorithm: SigningAlgorithm,
    /// When tokens that the secret before has signed are taken no more.
    #[schema(format = "date-time")]
    overlap_until: String,
}

/// A user, and the presets that it is bound to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct BoundUser {
    /// What its tokens carry as `kid`, as before.
    access_key: String,
    /// Those of which its tokens must name one; none of a user whose tokens may say what they like.
    #[schema(required)]
    presets: Option<Vec<PresetName>>,
}

/// All that is registered.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct Registrations {
    count: usize,
    registrations: Vec<RegistrationEntry>,
}

/// A user or a store, without secrets.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct RegistrationEntry {
    access_key: String,
    r#type: RegistrationType,
    /// The user's name, or that of the user whom the store is for.
    #[schema(required)]
    user: Option<String>,
    #[schema(format = "date-time")]
    created_at: String,
    /// Of a store.
    #[schema(nullable = false)]
    bucket: Option<String>,
    /// Of a store.
    endpoint: Option<String>,
    /// Of a store.
    #[schema(nullable = false)]
    prefix: Option<String>,
    /// Of a store that speaks S3.
    #[schema(nullable = false)]
    region: Option<String>,
    /// Of a store that speaks S3.
    path_style: Option<bool>,
    /// Of a user who is bound to some.
    #[schema(nullable = false)]
    presets: Option<Vec<PresetName>>,
    /// Of a store: the `Cache-Control` of objects of jobs that aren't `unique`.
    cache_control: Option<String>,
    /// Of a store: where browsers get what is in it.
    public_url: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "see above")]
enum RegistrationType {
    User,
    S3,
    Gcs,
}

/// A secret, which is never shown again.
#[derive(ToSchema)]
#[expect(dead_code, reason = "see above")]
struct NewWebhookSecret {
    /// `whsec_` and base64.
    webhook_secret: String,
}

/// What `POST` reads, by the names of its schemas.
pub(super) fn registration_components() -> Map<String, Value> {
    let mut components = Map::new();
    let user = json!({
        "description": "A client with a signing secret of its own.",
        "type": "object",
        "required": ["user"],
        "properties": {
            "user": { "description": "Its name.", "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" },
            "presets": bound_presets(),
        },
        "additionalProperties": false,
    });
    components.insert("User".to_owned(), user);
    components.extend(StorageSettings::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    let kinds = components.keys().map(|name| json!({ "$ref": format!("#/components/schemas/{name}") }));
    let registration = json!({ "description": "What to register.", "oneOf": kinds.collect::<Vec<_>>() });
    components.insert("Registration".to_owned(), registration);
    let rotation = json!({
        "description": "That a user is to have a new signing secret.",
        "type": "object",
        "required": ["rotate"],
        "properties": {
            "rotate": { "const": true },
            "overlap": {
                "description": "For how long the secret before is taken too, such as `30s` or `7days`; at most a year.",
                "type": "string", "default": "24h",
            },
        },
        "additionalProperties": false,
    });
    components.insert("SecretRotation".to_owned(), rotation);
    let binding = json!({
        "description": "Which presets a user is bound to from now on.",
        "type": "object",
        "required": ["presets"],
        "properties": { "presets": bound_presets() },
        "additionalProperties": false,
    });
    components.insert("PresetBinding".to_owned(), binding);
    let changes = ["SecretRotation", "PresetBinding"]
        .into_iter()
        .chain(StorageSettings::schemas().into_iter().map(|(name, _)| name));
    let changes = changes.map(|name| json!({ "$ref": format!("#/components/schemas/{name}") }));
    let change = json!({ "description": "What to change.", "oneOf": changes.collect::<Vec<_>>() });
    components.insert("RegistrationChange".to_owned(), change);
    let renewal = json!({
        "description": "Whose secret to renew.",
        "type": "object",
        "required": ["access_key"],
        "properties": { "access_key": { "description": "A user's.", "type": "string", "minLength": 1 } },
        "additionalProperties": false,
    });
    components.insert("WebhookSecretRenewal".to_owned(), renewal);
    components
}

fn bound_presets() -> Value {
    json!({
        "description": "Those of which the user's tokens must name one; they needn't be there yet. With `null` its tokens may say what \
            they like.",
        "type": ["array", "null"],
        "items": { "type": "string", "pattern": PresetName::PATTERN },
        "minItems": 1, "maxItems": Preset::COUNT_MAX,
    })
}

refusals!(
    RegisterRefusals: BadRequest, BadJson, Unauthorized, Forbidden, NameTaken, TooLarge, InvalidFields, StoreRefused, DiskFull,
    Paused, Unavailable
);
refusals!(RegistrationsRefusals: Unauthorized, Forbidden);
refusals!(
    ChangeRefusals: BadRequest, BadJson, Unauthorized, Forbidden, NotFound, TooLarge, InvalidFields, StoreRefused, DiskFull, Paused,
    Unavailable
);
refusals!(DeregisterRefusals: BadRequest, Unauthorized, Forbidden, NotFound, StoreInUse, DiskFull, Unavailable);
refusals!(
    RenewalRefusals: BadJson, Unauthorized, Forbidden, NotFound, TooLarge, InvalidFields, DiskFull, Paused, Unavailable
);

/// Registers a user or a store
///
/// A body with a `type` is a store. The media type of the request doesn't matter.
#[utoipa::path(
    post, path = "/register", tag = "Register", security(("token" = ["admin"])), params(RegisterQuery),
    request_body(content = ref("#/components/schemas/Registration"), content_type = "application/json"),
    responses(
        (
            status = 201, description = "It is registered.", body = RegisteredAnswer,
            links((
                "deregister" = (operation_id = "deregister", parameters(("access_key" = "$response.body#/access_key")))
            ))
        ),
        RegisterRefusals
    )
)]
pub(super) async fn register(
    State(state): State<AppState>,
    _: Admin,
    Parameters(query): Parameters<RegisterQuery>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    let body = read_json(request).await?;
    let answer = match body.get("type") {
        Some(_) => register_store(&state, &body, query.verify).await?,
        None => register_user(&state, &body).await?,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// What is registered, without secrets
#[utoipa::path(
    get, path = "/register", tag = "Register", operation_id = "registrations", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "All of it, the oldest first.", body = Registrations),
        RegistrationsRefusals
    )
)]
pub(super) async fn list(State(state): State<AppState>, _: Admin) -> Result<Json<Value>, Refusal> {
    let registrations: Vec<_> = state.register.list().into_iter().map(shown).collect();
    Ok(Json(json!({ "count": registrations.len(), "registrations": registrations })))
}

fn shown(registered: RegisterEntry) -> Value {
    let RegisterEntry { access_key, kind, user, created_at, details } = registered;
    let kind = match kind {
        EntryKind::User => "user",
        EntryKind::Store(kind) => kind.as_str(),
    };
    let mut entry = json!({ "access_key": access_key, "type": kind, "user": user, "created_at": created_at.rfc3339() });
    if let (Value::Object(entry), Value::Object(details)) = (&mut entry, details) {
        entry.extend(details);
    }
    entry
}

/// Removes a user or a store
///
/// A user's tokens are refused from then on, and its stores can't be used any more. A store for which jobs wait stays, unless `force` says
/// otherwise.
#[utoipa::path(
    delete, path = "/register", tag = "Register", security(("token" = ["admin"])), params(DeregisterQuery),
    responses((status = 204, description = "It is removed."), DeregisterRefusals)
)]
pub(super) async fn deregister(
    State(state): State<AppState>,
    _: Admin,
    Parameters(query): Parameters<DeregisterQuery>,
) -> Result<StatusCode, Refusal> {
    let access_key = named(query.access_key)?;
    if !query.force
        && let Some(Registration::Store(_) | Registration::Unreadable) = state.register.find(&access_key).await?
    {
        let (jobs, files) =
            (state.records.live_of_store(&access_key).await?, state.ledger.files_in(&access_key).await?);
        if jobs > 0 || files > 0 {
            return Err(Refusal::StoreInUse { jobs, files });
        }
    }
    if state.register.deregister(&access_key).await? {
        info!(access_key, "registration removed");
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(nothing_registered())
    }
}

fn named(access_key: Option<String>) -> Result<String, Refusal> {
    let given = access_key.filter(|key| !key.is_empty());
    given.ok_or_else(|| Refusal::BadRequest("the parameter `access_key` is missing".into()))
}

fn nothing_registered() -> Refusal {
    Refusal::NotFound("nothing is registered under this access_key".into())
}

/// Gives a store other credentials, or a user another secret or other presets
///
/// A store has the body that `POST` takes, and stays of its kind, its bucket and its user: its credentials, region, endpoint and prefix may
/// be others. Jobs that wait for it use them from their next try on. A user is given a new signing secret; the one before is taken too
/// for as long as `overlap` says, and so are those before that, but none for longer. Or it is bound to other presets, in a request of its
/// own.
#[utoipa::path(
    put, path = "/register", tag = "Register", operation_id = "change_registration", security(("token" = ["admin"])),
    params(ChangeQuery),
    request_body(content = ref("#/components/schemas/RegistrationChange"), content_type = "application/json"),
    responses((status = 200, description = "It is changed.", body = ChangedAnswer), ChangeRefusals)
)]
pub(super) async fn change(
    State(state): State<AppState>,
    _: Admin,
    Parameters(query): Parameters<ChangeQuery>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    let access_key = named(query.access_key)?;
    let answer = match state.register.find(&access_key).await?.ok_or_else(nothing_registered)? {
        Registration::User(_) => change_user(&state, &access_key, &read_json(request).await?).await?,
        Registration::Store(store) => change_store(&state, &store, &read_json(request).await?, query.verify).await?,
        Registration::Unreadable => return Err(RegisterError::Unreadable { access_key }.into()),
    };
    Ok(Json(answer))
}

async fn change_user(state: &AppState, access_key: &str, body: &Value) -> Result<Value, Refusal> {
    if body.get("presets").is_some() && body.get("rotate").is_none() {
        bind_user(state, access_key, body).await
    } else {
        rotate_secret(state, access_key, body).await
    }
}

async fn bind_user(state: &AppState, access_key: &str, body: &Value) -> Result<Value, Refusal> {
    let mut errors = ClaimErrors::default();
    for field in body.as_object().into_iter().flat_map(|fields| fields.keys()).filter(|field| *field != "presets") {
        errors.push(format!("/{field}"), "unknown field; beside `presets` there is none");
    }
    let presets = presets(body, &mut errors);
    errors.or(())?;
    if !state.register.bind_user(access_key, presets.clone()).await? {
        return Err(nothing_registered());
    }
    info!(access_key, presets = ?presets, "user bound to presets");
    Ok(json!({ "access_key": access_key, "presets": presets }))
}

/// The presets that a user is to be bound to; none of one whose tokens may say what they like. An empty list is neither: whoever sends one
/// may mean that nothing is allowed, and everything would be.
fn presets(body: &Value, errors: &mut ClaimErrors) -> Option<Vec<PresetName>> {
    let max = Preset::COUNT_MAX;
    let listed = match body.get("presets") {
        None | Some(Value::Null) => return None,
        Some(Value::Array(listed)) if (1..=max).contains(&listed.len()) => listed,
        Some(_) => {
            let detail = format!(
                "must be a list of 1 to {max} names of presets; with null the user's tokens may say what they like"
            );
            errors.push("/presets", detail);
            return None;
        }
    };
    let mut names = Vec::with_capacity(listed.len());
    for (i, name) in listed.iter().enumerate() {
        match name.as_str().and_then(PresetName::parse) {
            Some(name) if names.contains(&name) => {}
            Some(name) => names.push(name),
            None => errors.push(format!("/presets/{i}"), format!("must be {}", PresetName::RULE)),
        }
    }
    Some(names)
}

async fn rotate_secret(state: &AppState, access_key: &str, body: &Value) -> Result<Value, Refusal> {
    let mut errors = ClaimErrors::default();
    for field in body.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !["rotate", "overlap"].contains(&field.as_str()) {
            let detail = "unknown field; there are `rotate` and `overlap`, and `presets` in a request of its own";
            errors.push(format!("/{field}"), detail);
        }
    }
    if body.get("rotate") != Some(&Value::Bool(true)) {
        errors
            .push("/rotate", "must be true: of a user the secret can be changed, or by `presets` what it is bound to");
    }
    let overlap = match body.get("overlap") {
        None | Some(Value::Null) => Some(OVERLAP_DEFAULT),
        Some(text) => text.as_str().and_then(parse_duration).filter(|overlap| *overlap <= OVERLAP_MAX),
    };
    if overlap.is_none() {
        errors.push("/overlap", "must be a duration such as \"30s\" or \"7days\", of a year at most");
    }
    errors.or(())?;
    let rotated = state.register.rotate_secret(access_key, overlap.unwrap_or(OVERLAP_DEFAULT)).await?;
    let RotatedSecret { secret, overlap_until } = rotated.ok_or_else(nothing_registered)?;
    let overlap_until = overlap_until.rfc3339();
    info!(access_key, overlap_until, "secret of a user rotated");
    Ok(json!({
        "access_key": access_key, "secret": secret.expose_secret(), "algorithm": "HS256", "overlap_until": overlap_until
    }))
}

async fn change_store(
    state: &AppState,
    store: &register::RegisteredStore,
    body: &Value,
    verify: bool,
) -> Result<Value, Refusal> {
    let settings = StorageSettings::from_request(body)?;
    let mut errors = ClaimErrors::default();
    if settings.kind() != store.kind {
        errors.push("/type", format!("must be {}, as it was registered", store.kind.as_str()));
    }
    // What is stored there is erased and read by its bucket and key.
    let summary = settings.summary();
    if summary["bucket"] != store.summary["bucket"] {
        errors.push("/bucket", "must be the one that was registered; for another bucket register another store");
    }
    // Left out, it stays: a store must not become everybody's because somebody forgot to say whose it is.
    let names_holder = |user: &str| {
        user.is_empty() || store.user.as_ref().is_some_and(|holder| user == holder.name || user == holder.access_key)
    };
    if !matches!(body.get("user"), None | Some(Value::Null)) && !body["user"].as_str().is_some_and(names_holder) {
        errors.push("/user", "must be the one for whom it was registered, or be left out");
    }
    errors.or(())?;
    let note = if verify { try_store(state, &settings).await? } else { None };
    let access_key = &store.access_key;
    if !state.register.change_store(access_key, settings.expose_for_sealing(), summary).await? {
        return Err(nothing_registered());
    }
    info!(access_key, kind = store.kind.as_str(), "store changed");
    Ok(store_answer(access_key, note))
}

async fn register_user(state: &AppState, body: &Value) -> Result<Value, Refusal> {
    let mut errors = ClaimErrors::default();
    for field in body.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if !["user", "presets"].contains(&field.as_str()) {
            let detail = "unknown field; a user is {\"user\": name}, with `presets` if it is bound to some, a store has a `type`";
            errors.push(format!("/{field}"), detail);
        }
    }
    let presets = presets(body, &mut errors);
    let name = body.get("user").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        let kinds = BackendKind::names();
        errors.push("/user", format!("must be the user's name; for a store, `type` must be {kinds}"));
    }
    errors.or(())?;
    let user = state.register.register_bound_user(name, presets).await?;
    info!(access_key = user.access_key, user = name, "user registered");
    Ok(json!({
        "access_key": user.access_key, "secret": user.secret.expose_secret(), "algorithm": "HS256",
        "webhook_secret": user.webhook_secret.text().expose_secret()
    }))
}

/// Makes a new secret for callbacks about a user's jobs
///
/// The one before signs too for a day. With `manage-user`, that of the token's own user.
#[utoipa::path(
    post, path = "/register/webhook-secret", tag = "Register", security(("token" = ["manage-user"])),
    request_body(content = ref("#/components/schemas/WebhookSecretRenewal"), content_type = "application/json"),
    responses(
        (status = 201, description = "The new secret.", body = NewWebhookSecret),
        RenewalRefusals
    )
)]
pub(super) async fn renew_webhook_secret(
    State(state): State<AppState>,
    caller: Result<Caller, Refusal>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let Caller(caller) = caller.map_err(|refusal| refusal.lacking(Scope::ManageUser))?;
    let scope = caller.require(Scope::ManageUser)?;
    if state.readiness.is_paused() {
        return Err(Refusal::Paused);
    }
    let body = read_json(request).await?;
    let mut errors = ClaimErrors::default();
    for field in body.as_object().into_iter().flat_map(|fields| fields.keys()).filter(|field| *field != "access_key") {
        errors.push(format!("/{field}"), "unknown field; there is only `access_key`");
    }
    let access_key = body.get("access_key").and_then(Value::as_str).unwrap_or_default();
    if access_key.is_empty() {
        errors.push("/access_key", "must be a user's access key");
    }
    errors.or(())?;
    let unknown = || Refusal::NotFound("no user has this access_key, or it is another's".into());
    if scope != Scope::Admin && caller.owner.access_key.as_deref() != Some(access_key) {
        return Err(unknown());
    }
    let secret = state.register.renew_webhook_secret(access_key).await?.ok_or_else(unknown)?;
    info!(access_key, "webhook secret renewed");
    Ok((StatusCode::CREATED, Json(json!({ "webhook_secret": secret.text().expose_secret() }))))
}

async fn register_store(state: &AppState, body: &Value, verify: bool) -> Result<Value, Refusal> {
    let settings = StorageSettings::from_request(body)?;
    let user = match body.get("user") {
        None | Some(Value::Null) => None,
        Some(Value::String(user)) if user.is_empty() => None,
        Some(Value::String(user)) => Some(user.as_str()),
        Some(_) => {
            let mut errors = ClaimErrors::default();
            errors.push("/user", "must be a registered user's name");
            return Err(errors.into());
        }
    };
    let note = if verify { try_store(state, &settings).await? } else { None };
    let kind = settings.kind();
    let store = NewStore {
        kind,
        user: user.map(str::to_owned),
        settings: settings.expose_for_sealing(),
        summary: settings.summary(),
    };
    let access_key = state.register.register_store(store).await?;
    info!(access_key, kind = kind.as_str(), "store registered");
    Ok(store_answer(&access_key, note))
}

/// Writes a probe object and deletes it: what there is to be said of that.
async fn try_store(state: &AppState, settings: &StorageSettings) -> Result<Option<String>, Refusal> {
    let store = settings.connect(&state.store_timeouts).map_err(Refusal::StoreRefused)?;
    Ok(match store.probe().await.map_err(Refusal::StoreRefused)? {
        ProbeOutcome::Kept(why) => Some(format!(
            "the store takes objects, which is enough, but refuses to delete any: the probe is still there ({why})"
        )),
        ProbeOutcome::Deleted => None,
    })
}

fn store_answer(access_key: &str, note: Option<String>) -> Value {
    let mut answer = json!({ "access_key": access_key });
    if let Some(note) = note {
        answer["note"] = note.into();
    }
    answer
}
