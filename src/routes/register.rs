//! `/register`: users and their storage. For admins, but for a user's own webhook secret.

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
use crate::job::{BackendKind, ClaimErrors};
use crate::register::{EntryKind, NewStore, RegisterEntry};
use crate::writer::{ProbeOutcome, StorageSettings};

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
        },
        "additionalProperties": false,
    });
    components.insert("User".to_owned(), user);
    components.extend(StorageSettings::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    let kinds = components.keys().map(|name| json!({ "$ref": format!("#/components/schemas/{name}") }));
    let registration = json!({ "description": "What to register.", "oneOf": kinds.collect::<Vec<_>>() });
    components.insert("Registration".to_owned(), registration);
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

refusals!(
    RegisterRefusals: BadRequest, BadJson, Unauthorized, Forbidden, NameTaken, TooLarge, InvalidFields, StoreRefused, DiskFull,
    Paused, Unavailable
);
refusals!(RegistrationsRefusals: Unauthorized, Forbidden);
refusals!(DeregisterRefusals: BadRequest, Unauthorized, Forbidden, NotFound, DiskFull, Unavailable);
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
/// A user's tokens are refused from then on, and its stores can't be used any more.
#[utoipa::path(
    delete, path = "/register", tag = "Register", security(("token" = ["admin"])), params(DeregisterQuery),
    responses((status = 204, description = "It is removed."), DeregisterRefusals)
)]
pub(super) async fn deregister(
    State(state): State<AppState>,
    _: Admin,
    Parameters(query): Parameters<DeregisterQuery>,
) -> Result<StatusCode, Refusal> {
    let access_key = query
        .access_key
        .filter(|key| !key.is_empty())
        .ok_or_else(|| Refusal::BadRequest("the parameter `access_key` is missing".into()))?;
    if state.register.deregister(&access_key).await? {
        info!(access_key, "registration removed");
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refusal::NotFound("nothing is registered under this access_key".into()))
    }
}

async fn register_user(state: &AppState, body: &Value) -> Result<Value, Refusal> {
    let mut errors = ClaimErrors::default();
    for field in body.as_object().into_iter().flat_map(|fields| fields.keys()).filter(|field| *field != "user") {
        errors.push(format!("/{field}"), "unknown field; a user is {\"user\": name}, a store has a `type`");
    }
    let name = body.get("user").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        let kinds = BackendKind::names();
        errors.push("/user", format!("must be the user's name; for a store, `type` must be {kinds}"));
    }
    errors.or(())?;
    let user = state.register.register_user(name).await?;
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
    Caller(caller): Caller,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Refusal> {
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
    let mut note = None;
    if verify {
        let store = settings.connect(&state.store_timeouts).map_err(Refusal::StoreRefused)?;
        if let ProbeOutcome::Kept(why) = store.probe().await.map_err(Refusal::StoreRefused)? {
            note = Some(format!(
                "the store takes objects, which is enough, but refuses to delete any: the probe is still there ({why})"
            ));
        }
    }
    let kind = settings.kind();
    let store = NewStore {
        kind,
        user: user.map(str::to_owned),
        settings: settings.expose_for_sealing(),
        summary: settings.summary(),
    };
    let access_key = state.register.register_store(store).await?;
    info!(access_key, kind = kind.as_str(), "store registered");
    let mut answer = json!({ "access_key": access_key });
    if let Some(note) = note {
        answer["note"] = note.into();
    }
    Ok(answer)
}
