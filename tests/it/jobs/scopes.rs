//! Every route with every scope, about what is one's own, of another `sub` of one's user, and of another user.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::home::{JobsHome, RegisteredUser, admin, text, with_scope};
use crate::harness::app::{TestApp, assert_problem, poll_delay};
use crate::harness::described::Described;
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

every_home! { every_route_lets_each_scope_reach_what_it_says_and_nothing_else }

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Anyone, with or without a token: what it tells of is nobody's, or known to whoever knows its name.
    Anyone,
    /// Anyone; a token that comes along must be good for something else than reading private files.
    AnyoneOrToken,
    /// The owner, by a token that says which private files it reads.
    Reader,
    /// Any good token, whatever it is about: an upload is its own owner's.
    AnyToken,
    /// The owner, whatever its scope, and admins.
    Owner,
    /// `manage` its own, `manage-user` its user's, admins all.
    Manager,
    /// `manage-user` its own user, admins all.
    UserManager,
    Admin,
}

/// What a route answers about what the token doesn't reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreached {
    /// That there is no such thing.
    NotFound,
    /// That nothing was found, as a number.
    CountOfNone,
}

/// Every route there is. `{job}`, `{hash}`, `{sub}`, `{user}` and `{key}` in an address or a body stand for the target's job and owner.
const ROUTES: &[(&str, &str, &str, Who, Unreached)] = &[
    ("GET", "/", "", Who::Anyone, Unreached::NotFound),
    ("DELETE", "/cancel?job_id={job}", "", Who::Owner, Unreached::NotFound),
    ("GET", "/deliveries?job_id={job}", "", Who::Manager, Unreached::NotFound),
    ("POST", "/deliveries/redeliver", r#"{"ids":["{job}"]}"#, Who::Manager, Unreached::CountOfNone),
    ("GET", "/demo-token", "", Who::Anyone, Unreached::NotFound),
    ("POST", "/doctor", "", Who::Admin, Unreached::NotFound),
    ("GET", "/docs", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/docs/{file}", "", Who::Anyone, Unreached::NotFound),
    // A dry run: what comes after it is about the same jobs.
    ("DELETE", "/erase?job_id={job}&dry_run=true", "", Who::Manager, Unreached::NotFound),
    ("GET", "/erasures/{erasure_id}", "", Who::Manager, Unreached::NotFound),
    ("GET", "/events?job_id={job}", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/failures?hash={hash}", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/failures/list", "", Who::Admin, Unreached::NotFound),
    ("GET", "/files/{path}", "", Who::Anyone, Unreached::NotFound),
    ("HEAD", "/files/{path}", "", Who::Anyone, Unreached::NotFound),
    ("POST", "/gc", "", Who::Admin, Unreached::NotFound),
    ("GET", "/gc/{gc_id}", "", Who::Admin, Unreached::NotFound),
    ("GET", "/health", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/health/live", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/image/{id}", "", Who::Anyone, Unreached::NotFound),
    ("HEAD", "/image/{id}", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/jobs?sub={sub}&user={user}", "", Who::Manager, Unreached::NotFound),
    ("GET", "/limits", "", Who::AnyoneOrToken, Unreached::NotFound),
    ("GET", "/manifest?job_id={job}", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/metrics", "", Who::Admin, Unreached::NotFound),
    ("GET", "/openapi.json", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/page/{file}", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/presets", "", Who::Admin, Unreached::NotFound),
    ("GET", "/presets/{name}", "", Who::Admin, Unreached::NotFound),
    ("PUT", "/presets/{name}", "{}", Who::Admin, Unreached::NotFound),
    ("DELETE", "/presets/{name}", "", Who::Admin, Unreached::NotFound),
    ("GET", "/private/{owner}/{path}", "", Who::Reader, Unreached::NotFound),
    ("HEAD", "/private/{owner}/{path}", "", Who::Reader, Unreached::NotFound),
    ("GET", "/register", "", Who::Admin, Unreached::NotFound),
    ("POST", "/register", r#"{"user":""}"#, Who::Admin, Unreached::NotFound),
    ("PUT", "/register?access_key=", "", Who::Admin, Unreached::NotFound),
    ("DELETE", "/register?access_key=", "", Who::Admin, Unreached::NotFound),
    ("POST", "/register/webhook-secret", r#"{"access_key":"{key}"}"#, Who::UserManager, Unreached::NotFound),
    ("POST", "/reprocess?job_id={job}", "", Who::Manager, Unreached::NotFound),
    ("POST", "/retry?job_id={job}", "", Who::Manager, Unreached::NotFound),
    ("GET", "/status?job_id={job}", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/success?hash={hash}", "", Who::Anyone, Unreached::NotFound),
    ("GET", "/success/list", "", Who::Admin, Unreached::NotFound),
    ("POST", "/upload", "", Who::AnyToken, Unreached::NotFound),
    ("GET", "/version", "", Who::Anyone, Unreached::NotFound),
];

/// What a token says that it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    NoToken,
    NoScope,
    Manage,
    ManageUser,
    /// Signed by a registered user, who can't make itself one.
    AdminOfUser,
    Admin,
    /// It reads all private files of its owner, whatever scope it has besides.
    Read,
}

impl Holds {
    const ALL: [Self; 7] =
        [Self::NoToken, Self::NoScope, Self::Manage, Self::ManageUser, Self::AdminOfUser, Self::Admin, Self::Read];

    fn claims(self, own: &Claims) -> Option<Claims> {
        match self {
            Self::NoToken => None,
            Self::NoScope => Some(own.clone()),
            Self::Manage => Some(with_scope(own, "manage")),
            Self::ManageUser => Some(with_scope(own, "manage-user")),
            Self::AdminOfUser => Some(with_scope(own, "admin")),
            Self::Admin => Some(admin()),
            Self::Read => Some(with_scope(own, "manage manage-user admin").with("read", json!("/private/"))),
        }
    }
}

/// Whose the target is, as the token's owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Own,
    SameUsers,
    Foreign,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// It is answered, with whatever that route has to say.
    Answered,
    Unauthorized,
    /// The least scope that would do; empty where none would.
    Forbidden(&'static str),
    Unreached,
}

/// What the table of scopes says.
fn expected(who: Who, holds: Holds, whose: Whose) -> Expected {
    use {Expected as E, Holds as H, Whose as W};
    let by = |is_reached| if is_reached { E::Answered } else { E::Unreached };
    match (who, holds) {
        (Who::Reader, H::Read) => by(whose == W::Own),
        (Who::Reader, H::NoToken) => E::Unauthorized,
        (Who::Reader, _) => E::Unreached,
        (Who::AnyToken | Who::Owner | Who::AnyoneOrToken, H::Read) => E::Forbidden(""),
        (Who::Anyone | Who::AnyoneOrToken, _)
        | (Who::AnyToken, H::NoScope | H::Manage | H::ManageUser | H::AdminOfUser)
        | (_, H::Admin) => E::Answered,
        (_, H::NoToken) => E::Unauthorized,
        (Who::Owner, _) | (Who::Manager, H::Manage) => by(whose == W::Own),
        (Who::Manager, H::NoScope | H::AdminOfUser | H::Read) => E::Forbidden("manage"),
        (Who::Manager | Who::UserManager, H::ManageUser) => by(whose != W::Foreign),
        (Who::UserManager, H::NoScope | H::AdminOfUser | H::Manage | H::Read) => E::Forbidden("manage-user"),
        (Who::Admin, _) => E::Forbidden("admin"),
    }
}

/// A job that has ended, and whose it is.
struct Target {
    job: Value,
    /// Where a private file of the same owner is.
    private: String,
    /// An erasure of another job of the same owner.
    erasure: String,
    sub: &'static str,
    user: &'static str,
    key: String,
}

impl Target {
    async fn make(
        app: &TestApp,
        receiver: &Receiver,
        user: &RegisteredUser,
        name: [&'static str; 2],
        seed: u32,
    ) -> Self {
        let [name, sub] = name;
        let job = json!({ "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[16]] } } });
        let erased = app.upload(&user.claims(sub).job(job.clone()).sign(), "e.jpg", jpeg(32, 32, seed + 100)).await;
        let erased: Value = erased.json().await.expect("JSON");
        let path = format!("/erase?job_id={}", text(&erased["job_id"]));
        let token = with_scope(&user.claims(sub), "manage").sign();
        let erasure = app.request(Method::DELETE, &path).bearer_auth(token).send().await.expect("an answer");
        let erasure: Value = erasure.json().await.expect("JSON");
        let response = app.upload(&user.claims(sub).job(job).sign(), "a.jpg", jpeg(32, 32, seed)).await;
        let accepted: Value = response.json().await.expect("JSON");
        let job = app.wait_for(&accepted, "told of", |status| status["callback"]["state"] == "delivered").await;
        let erasure = text(&erasure["erasure_id"]).to_owned();
        let private = json!({ "directHost": true, "private": true, "formats": { "jpg": { "sizes": [[16]] } } });
        let private = app.upload(&user.claims(sub).job(private).sign(), "p.jpg", jpeg(32, 32, seed + 200)).await;
        let private = app.ended(&private.json().await.expect("JSON")).await;
        let private = text(&private["files"][0]["stored"][0]["location"]).to_owned();
        Self { job, private, erasure, sub, user: name, key: user.access_key.clone() }
    }

    fn fill(&self, template: &str) -> String {
        let location = text(&self.job["files"][0]["stored"][0]["location"]);
        template
            .replace("{job}", text(&self.job["job_id"]))
            .replace("{hash}", text(&self.job["hash"]))
            .replace("{sub}", self.sub)
            .replace("{user}", self.user)
            .replace("{key}", &self.key)
            .replace("/files/{path}", location)
            .replace("/private/{owner}/{path}", &self.private)
            .replace("{file}", "style.css")
            .replace("{name}", "avatar")
            .replace("{erasure_id}", &self.erasure)
    }
}

async fn assert_answer(response: Response, expected: &Expected, unreached: Unreached, what: &str) {
    let status = response.status();
    // Without a body, the status says it all.
    if what.starts_with("HEAD") && *expected != Expected::Answered {
        let wanted = if *expected == Expected::Unauthorized { 401 } else { 404 };
        return assert_eq!(status, wanted, "{what}");
    }
    match expected {
        // What a route says otherwise of a good request is for its own tests.
        Expected::Answered => {
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::METHOD_NOT_ALLOWED];
            assert!(!refused.contains(&status) && !status.is_server_error(), "{what}: {status}");
            if unreached == Unreached::CountOfNone {
                assert_eq!(response.json::<Value>().await.expect("JSON")["count"], 1, "{what}");
            }
        }
        Expected::Unauthorized => drop(assert_problem(response, 401, "unauthorized").await),
        Expected::Forbidden(least) => {
            let challenge = response.headers()["www-authenticate"].to_str().expect("text").to_owned();
            let scope = if least.is_empty() { String::new() } else { format!(", scope=\"{least}\"") };
            assert!(challenge.ends_with(&format!("error=\"insufficient_scope\"{scope}")), "{what}: {challenge}");
            assert_problem(response, 403, "forbidden").await;
        }
        Expected::Unreached => match unreached {
            Unreached::NotFound => drop(assert_problem(response, 404, "not_found").await),
            Unreached::CountOfNone => {
                assert_eq!(response.json::<Value>().await.expect("JSON")["count"], 0, "{what}");
            }
        },
    }
}

fn request(app: &TestApp, method: &str, path: &str, body: &str, token: Option<&Claims>) -> RequestBuilder {
    let request = app.request(method.parse::<Method>().expect("a method"), path);
    let request = match (path, body) {
        ("/upload", _) => request.multipart(Form::new().part("file", Part::bytes(jpeg(8, 8, 1)).file_name("a.jpg"))),
        (_, "") => request,
        _ => request.body(body.to_owned()),
    };
    match token {
        Some(claims) => request.bearer_auth(claims.sign()),
        None => request,
    }
}

async fn every_route_lets_each_scope_reach_what_it_says_and_nothing_else(home: JobsHome) {
    let (app, receiver) = (home.start(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "0")]).await, Receiver::start().await);
    let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path, ..) in ROUTES {
        let path = path.split('?').next().unwrap_or_default();
        let is_new = listed.entry(path.to_owned()).or_default().insert((*method).to_owned());
        assert!(is_new, "{method} {path} is there twice");
    }
    assert_eq!(listed, Described::of(&app).await.routes(), "say in ROUTES who may use a new route");

    let (shop, other) = (RegisteredUser::register(&app, "shop").await, RegisteredUser::register(&app, "other").await);
    let own = shop.claims("a");
    let targets = [
        (Whose::Own, Target::make(&app, &receiver, &shop, ["shop", "a"], 1).await),
        (Whose::SameUsers, Target::make(&app, &receiver, &shop, ["shop", "b"], 2).await),
        (Whose::Foreign, Target::make(&app, &receiver, &other, ["other", "a"], 3).await),
    ];
    for (method, path, body, who, unreached) in ROUTES {
        for (holds, (whose, target)) in
            Holds::ALL.into_iter().flat_map(|holds| targets.iter().map(move |of| (holds, of)))
        {
            let what = format!("{method} {path}, {holds:?}, {whose:?}");
            let token = holds.claims(&own);
            let (path, body) = (target.fill(path), target.fill(body));
            let response = request(&app, method, &path, &body, token.as_ref()).send().await.expect("an answer");
            assert_answer(response, &expected(*who, holds, *whose), *unreached, &what).await;
            if *path == *"/deliveries/redeliver" {
                settled(&app, target).await;
            }
        }
    }
}

/// Until the job's callback, which may have been asked for again, is delivered.
async fn settled(app: &TestApp, target: &Target) {
    let url = target.fill("/status?job_id={job}");
    while app.get_json(&url).await["callback"]["state"] != "delivered" {
        poll_delay().await;
    }
}
