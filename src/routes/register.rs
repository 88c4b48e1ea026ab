//! `/register`: users and their storage. For admins, but for a user's own webhook secret.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::extract::{Admin, Caller, Parameters, read_json};
use super::{AppState, Refusal};
use crate::auth::Scope;
use crate::job::{BackendKind, ClaimErrors};
use crate::register::{EntryKind, NewStore, RegisterEntry};
use crate::writer::{ProbeOutcome, StorageSettings};

#[derive(Deserialize)]
pub(super) struct RegisterQuery {
    #[serde(default)]
    verify: bool,
}

#[derive(Deserialize)]
pub(super) struct DeregisterQuery {
    access_key: Option<String>,
}

/// `POST /register`: a user, or a store.
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

/// `GET /register`: everything registered, without secrets.
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

/// `DELETE /register`.
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

/// `POST /register/webhook-secret`: a new secret for calls about a user's jobs; the one before signs too for a day. Who may
/// manage a user's jobs may renew that user's.
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
