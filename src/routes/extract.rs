//! What handlers need from a request before they can begin: who asks, and for what.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::IntoParams;

use super::accept::Accept;
use super::{AppState, Peer, Refusal};
use crate::auth::{AuthError, Scope, Verified, bearer};
use crate::clock::Timestamp;
use crate::job::{HashKey, JobId, JobRecord, Owner, OwnerKey};
use crate::queue::{DeliveryScope, Filter, Job};

/// Bytes of a body of JSON: a service account's is about 3 KiB, a thousand ids of callbacks some 50.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The token in the `Authorization` header, verified.
pub(super) struct Caller(pub(super) Verified);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let token = bearer_of(&parts.headers)?.ok_or(AuthError::Missing)?;
        Ok(Self(verify(state, token)?))
    }
}

/// A verified token that may do everything.
pub(super) struct Admin;

impl FromRequestParts<AppState> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await;
        let Caller(verified) = caller.map_err(|refusal| refusal.lacking(Scope::Admin))?;
        verified.require(Scope::Admin)?;
        Ok(Self)
    }
}

/// A verified token that may manage jobs: its owner's, those of its user, or all.
pub(super) struct Manager {
    owner: Owner,
    scope: Scope,
}

impl FromRequestParts<AppState> for Manager {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await;
        let Caller(verified) = caller.map_err(|refusal| refusal.lacking(Scope::Manage))?;
        Self::of(&verified)
    }
}

impl Manager {
    /// Whom this token makes one.
    pub(super) fn of(token: &Verified) -> Result<Self, Refusal> {
        let scope = token.require(Scope::Manage)?;
        Ok(Self { owner: token.owner.clone(), scope })
    }

    /// The token's own owner.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether it reaches this job.
    pub(super) fn may_manage(&self, state: &AppState, record: &JobRecord) -> bool {
        self.reaches(state, &record.owner, record.created_at)
    }

    /// Whether it reaches a job of this owner, accepted at that time.
    pub(super) fn reaches(&self, state: &AppState, owner: &Owner, accepted: Timestamp) -> bool {
        let is_of_user = match self.scope {
            Scope::Manage => owner.has_names_of(&self.owner),
            Scope::ManageUser => owner.user == self.owner.user,
            Scope::Admin => return true,
        };
        is_of_user && state.register.is_of_holder(owner, accepted)
    }

    /// The user whose jobs it means where none, or this one, is named; none stands for the keys of `jwt.json`.
    pub(super) fn user_of(&self, named: Option<String>) -> Option<String> {
        named.or_else(|| self.owner.user.clone())
    }

    /// Who may ask what becomes of what it does to jobs of these owners, which it reaches: their owner, if they are one's, and
    /// their user.
    pub(super) fn keys_of<'a>(&self, owners: impl Iterator<Item = &'a Owner>) -> (Option<OwnerKey>, Option<OwnerKey>) {
        let owners: HashSet<&Owner> = owners.collect();
        let only = |keys: HashSet<OwnerKey>| keys.iter().next().copied().filter(|_| keys.len() == 1);
        let owner = only(owners.iter().map(|owner| owner.digest()).collect());
        let user = only(owners.iter().map(|owner| *owner.user_key().as_bytes()).collect());
        let own_user = Some(*self.owner.user_key().as_bytes());
        match self.scope {
            // Records of versions before 0.3.0 have the same owner under other keys.
            Scope::Manage => (Some(self.owner.digest()), own_user),
            Scope::ManageUser => (owner, own_user),
            Scope::Admin => (owner, user),
        }
    }

    /// Whether it may ask for what is kept under these.
    pub(super) fn reaches_keys(&self, owner: Option<OwnerKey>, user: Option<OwnerKey>) -> bool {
        match self.scope {
            Scope::Manage => owner == Some(self.owner.digest()),
            Scope::ManageUser => user == Some(*self.owner.user_key().as_bytes()),
            Scope::Admin => true,
        }
    }

    /// The jobs of this `sub`, of this registered user, or all that it reaches; a `sub` alone is one of its own user's. None of what
    /// is another's, or nobody's.
    pub(super) fn jobs_of(&self, state: &AppState, sub: Option<String>, user: Option<&str>) -> Option<Filter> {
        let is_own = |user: &str| self.owner.user.as_deref() == Some(user);
        // An admin's is none: where nothing else is said, it reaches everybody's.
        let of = |sub: String| Owner { sub, ..self.owner.clone() };
        let (owner, user) = match (self.scope, user) {
            (Scope::Admin, Some(name)) => {
                let access_key = Some(state.register.holder(name)?.access_key.clone());
                let of = |sub| Owner { user: Some(name.to_owned()), access_key, sub };
                match sub {
                    Some(sub) => (Some(of(sub)), None),
                    None => (None, Some(of(String::new()).user_key())),
                }
            }
            (Scope::Admin, None) => (sub.map(of), None),
            (_, Some(name)) if !is_own(name) => return None,
            (Scope::ManageUser, _) => match sub {
                Some(sub) => (Some(of(sub)), None),
                None => (None, Some(self.owner.user_key())),
            },
            (Scope::Manage, _) if sub.is_some_and(|sub| sub != self.owner.sub) => return None,
            (Scope::Manage, _) => (Some(self.owner.clone()), None),
        };
        Some(Filter { owner, user, ..Filter::default() })
    }

    /// The callbacks that it reaches.
    pub(super) fn deliveries(&self) -> DeliveryScope {
        match self.scope {
            Scope::Manage => DeliveryScope::Owner(self.owner.clone()),
            Scope::ManageUser => DeliveryScope::User(self.owner.user_key()),
            Scope::Admin => DeliveryScope::All,
        }
    }
}

/// Whether a job is the caller's, whose user is registered: so whoever has the user's name now is the caller.
pub(super) fn is_own(state: &AppState, caller: &Owner, JobRecord { owner, created_at, .. }: &JobRecord) -> bool {
    owner.has_names_of(caller) && state.register.is_of_holder(owner, *created_at)
}

/// What the request is counted as the address of; none for a trusted proxy that speaks for nobody.
pub(super) struct ClientAddress(pub(super) Option<IpAddr>);

impl FromRequestParts<AppState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().copied();
        Ok(Self(peer.and_then(|peer| state.rates.counted_address(peer, &parts.headers))))
    }
}

/// The query string's parameters; a bad one is a `bad_request` that names it.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Refusal> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(parameters)| Self(parameters))
            .map_err(|error| Refusal::BadRequest(error.body_text()))
    }
}

/// The same where a parameter that the route doesn't know is an error, too.
pub(super) struct StrictParameters<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for StrictParameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Refusal> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(parameters)| Self(parameters))
            .map_err(|error| Refusal::BadParameter(error.body_text()))
    }
}

/// The body of JSON, of at most so many bytes.
pub(super) async fn read_body(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    let read = Limited::new(request.into_body(), bytes_max).collect().await;
    let body = read.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            Refusal::BodyTooLarge { bytes_max: bytes_max as u64 }
        } else {
            Refusal::BadJson("the body broke off".into())
        }
    });
    Ok(body?.to_bytes())
}

/// The body as a JSON object, of at most [`BODY_BYTES_MAX`].
pub(super) async fn read_json(request: Request) -> Result<Value, Refusal> {
    let body = read_body(request, BODY_BYTES_MAX).await?;
    match serde_json::from_slice(&body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Refusal::BadJson("the body must be a JSON object".into())),
        // Where it is, never the content: a registration holds secrets.
        Err(error) => Err(Refusal::BadJson(format!("line {}, column {}", error.line(), error.column()))),
    }
}

/// The token of an `Authorization` header, if there is such a header.
pub(super) fn bearer_of(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // A proxy may have checked the other one.
    if values.next().is_some() {
        return Err(AuthError::NotBearer.into());
    }
    let token = value.to_str().map_err(|_| AuthError::NotBearer).and_then(bearer)?;
    Ok(Some(token))
}

/// Checks a token against the keys and the registered users. One that reads private files is refused: it is good for that alone.
pub(super) fn verify(state: &AppState, token: &str) -> Result<Verified, Refusal> {
    state.auth.verify(token, &*state.register, state.clock.now()).map_err(Refusal::from)
}

/// Which job a request is about: the one with this `job_id`, or the newest with this `hash`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct JobQuery {
    /// The newest job of these bytes of this owner. Needed if there is no `job_id`.
    #[param(nullable = false)]
    pub(super) hash: Option<String>,
    /// That job; it counts before `hash`.
    #[param(nullable = false)]
    pub(super) job_id: Option<String>,
}

impl JobQuery {
    /// Whether it names one at all.
    pub(super) fn is_given(&self) -> bool {
        [&self.hash, &self.job_id].into_iter().flatten().any(|text| !text.is_empty())
    }

    /// What is the same for two requests about what these parameters name. A hash is compared as such: its newest job may be another by
    /// the time that the request is repeated.
    pub(super) fn compared(&self) -> String {
        let [hash, job_id] = [&self.hash, &self.job_id].map(|text| text.as_deref().unwrap_or_default());
        format!("{hash:?} {job_id:?}")
    }
}

/// The job that `query` names and `manager` reaches.
pub(super) async fn find_managed(state: &AppState, manager: &Manager, query: &JobQuery) -> Result<Job, Refusal> {
    let job = find(state, query).await?.filter(|job| manager.may_manage(state, &job.record));
    job.ok_or_else(|| Refusal::NotFound("no job of this hash or id is known, or it is another's".into()))
}

/// The job that `query` names, if there is one. An empty parameter is as good as none.
pub(super) async fn find(state: &AppState, query: &JobQuery) -> Result<Option<Job>, Refusal> {
    let given = |parameter: &Option<String>| parameter.clone().filter(|text| !text.is_empty());
    match (given(&query.hash), given(&query.job_id)) {
        (_, Some(id)) => match id.parse::<JobId>() {
            Ok(id) => Ok(state.records.get(&id).await?),
            Err(_) => Err(Refusal::BadRequest("`job_id` must be a UUID, as /upload gave it".into())),
        },
        (Some(hash), None) => match HashKey::parse(&hash) {
            Some(hash) => newest(state, &hash).await,
            // Nothing can have this hash; like any other that is unknown, it is not an error of form.
            None => Ok(None),
        },
        (None, None) => Err(Refusal::BadRequest("the parameter `hash` is missing".into())),
    }
}

/// The same; a refusal if there is none.
pub(super) async fn find_known(state: &AppState, query: &JobQuery) -> Result<Job, Refusal> {
    let job = find(state, query).await?;
    job.ok_or_else(|| Refusal::NotFound("no job of this hash or id is known".into()))
}

/// The newest job with this hash. Whoever had a user's name before has the same hashes: of a name that is registered again,
/// only the present holder's jobs are found by them.
async fn newest(state: &AppState, hash: &HashKey) -> Result<Option<Job>, Refusal> {
    let Some(job) = state.records.newest(hash).await? else { return Ok(None) };
    let owner = &job.record.owner;
    if state.register.is_of_holder(owner, job.record.created_at) {
        return Ok(Some(job));
    }
    let Some(holder) = owner.user.as_deref().and_then(|name| state.register.holder(name)) else { return Ok(Some(job)) };
    let owner = Owner { access_key: Some(holder.access_key.clone()), ..owner.clone() };
    Ok(state.records.newest_of(hash, &owner).await?)
}

/// Whether `Accept` names `text/html`, as browsers do when they go to a page and scripts don't: every tool says `*/*`.
pub(super) fn asks_for_html(headers: &HeaderMap) -> bool {
    Accept::of(headers).names("text/html")
}
