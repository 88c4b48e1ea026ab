//! Which server a command talks to, as whom, and how.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::error::CliError;
use super::output;
use super::problem::Problem;
use super::token::{SignedJob, TokenError, authenticator};
use crate::auth::{Authenticator, NewToken, Scope};
use crate::clock::{Clock, System};
use crate::config::{ClientVariables, Config, ConfigErrors, Warning};
use crate::tls;
use crate::version::VERSION;

/// For a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For an answer, of requests that don't take long: cancelling may take 8 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a token lives that is signed for one request.
const TOKEN_TTL: Duration = Duration::from_hours(1);
/// Whose a job is where nobody says, and the system doesn't know who asks; `pixerve token` has the same.
const SUBJECT: &str = "local";

/// Which server.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Address of the server, also in `PIXERVE_SERVER`; by default the one that listens here by its settings
    #[arg(long, value_name = "URL", value_parser = server_url)]
    pub(super) server: Option<Url>,
}

/// As whom.
#[derive(Args, Clone, Debug)]
pub struct CallerArgs {
    /// Token to send, also in `PIXERVE_TOKEN`, where others don't see it; by default one is signed with the keys of jwt.json,
    /// where they are here
    #[arg(long, value_name = "TOKEN")]
    token: Option<SecretString>,
    /// Subject (`sub`) of a token that is signed here: the owner of the jobs; by default your user name
    #[arg(long, value_name = "S", conflicts_with = "token")]
    sub: Option<String>,
    /// Scope of a token that is signed here: manage, manage-user or admin; by default the least that the command needs, which
    /// reaches the jobs of --sub alone
    #[arg(long, value_name = "SCOPE", conflicts_with = "token")]
    scope: Option<Scope>,
}

/// Whose jobs are meant, and as whom to ask.
#[derive(Args, Clone, Debug)]
pub struct OwnerArgs {
    /// Subject (`sub`) whose jobs are meant; a token that is signed here is of this subject, by default of your user name
    #[arg(long, value_name = "S")]
    pub(super) sub: Option<String>,
    /// Registered user whose jobs are meant; takes a token with the scope admin
    #[arg(long, value_name = "U")]
    pub(super) user: Option<String>,
    /// Token to send, also in `PIXERVE_TOKEN`, where others don't see it; by default one is signed with the keys of jwt.json,
    /// where they are here
    #[arg(long, value_name = "TOKEN")]
    token: Option<SecretString>,
    /// Scope of a token that is signed here: manage, manage-user or admin; by default the least that reaches those jobs
    #[arg(long, value_name = "SCOPE", conflicts_with = "token")]
    scope: Option<Scope>,
}

/// What a command finds where it is run.
pub(super) struct Surroundings {
    config_file: Option<PathBuf>,
    variables: ClientVariables,
    /// Read once one is needed: whoever talks to a server elsewhere may have none.
    config: OnceCell<Config>,
}

impl Surroundings {
    pub(super) fn new(config_file: Option<PathBuf>) -> Result<Self, CliError> {
        Ok(Self { config_file, variables: ClientVariables::from_process()?, config: OnceCell::new() })
    }

    /// Whether a server is named, which needn't be the one of the settings here.
    pub(super) fn names_server(&self, args: &ServerArgs) -> bool {
        args.server.is_some() || self.variables.server.is_some()
    }

    /// The settings of the server that runs here, and what of them has no effect, for who tells of both.
    pub(super) fn load_config(&self) -> Result<(&Config, Vec<Warning>), ConfigErrors> {
        let (config, warnings) = Config::from_process(self.config_file.as_deref())?;
        Ok((self.config.get_or_init(|| config), warnings))
    }

    /// The settings of the server that runs here.
    pub(super) fn config(&self) -> Result<&Config, CliError> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let (config, warnings) = self.load_config()?;
        for warning in warnings {
            output::warn(format_args!("{warning}"));
        }
        Ok(config)
    }

    /// A client of the server that is meant.
    pub(super) fn client(&self, args: &ServerArgs) -> Result<Client, CliError> {
        if let Some(server) = &args.server {
            return Client::new(server, true);
        }
        if let Some(server) = &self.variables.server {
            let server = server_url(server).map_err(|why| CliError::Usage(format!("PIXERVE_SERVER {why}")))?;
            return Client::new(&server, true);
        }
        // No proxy is between here and here.
        Client::new(&own_address(self.config()?.addr)?, false)
    }

    /// The token to send: the one that is given, or one with `least` for a scope.
    pub(super) fn credentials(&self, args: &CallerArgs, least: Option<Scope>) -> Result<Credentials, CliError> {
        let signs = args.sub.is_some() || args.scope.is_some();
        if let Some(token) = args.token.as_ref().or(self.variables.token.as_ref().filter(|_| !signs)) {
            return Ok(Credentials::Given(token.clone()));
        }
        self.signer(args.sub.as_deref(), args.scope.or(least))
    }

    /// The token to send for the jobs of an owner: the one that is given, or one that reaches them.
    pub(super) fn credentials_for(&self, args: &OwnerArgs) -> Result<Credentials, CliError> {
        if let Some(token) = args.token.as_ref().or(self.variables.token.as_ref().filter(|_| args.scope.is_none())) {
            return Ok(Credentials::Given(token.clone()));
        }
        let least = if args.user.is_some() { Scope::Admin } else { Scope::Manage };
        self.signer(args.sub.as_deref(), Some(args.scope.unwrap_or(least)))
    }

    fn signer(&self, sub: Option<&str>, scope: Option<Scope>) -> Result<Credentials, CliError> {
        let sub = sub.or(self.variables.user.as_deref()).unwrap_or(SUBJECT).to_owned();
        let authenticator = authenticator(self.config()?)?;
        Ok(Credentials::Signs(Box::new(Signer { authenticator, sub, scope })))
    }
}

/// What is sent as a token.
pub(super) enum Credentials {
    /// This.
    Given(SecretString),
    /// A new one for each request.
    Signs(Box<Signer>),
}

/// What signs as somebody.
pub(super) struct Signer {
    authenticator: Authenticator,
    sub: String,
    scope: Option<Scope>,
}

impl Credentials {
    /// A value of `Authorization`.
    pub(super) fn bearer(&self) -> Result<HeaderValue, CliError> {
        self.bearer_for(None, None)
    }

    /// The same of a token with `job`, of which `jti` tells it from others.
    pub(super) fn bearer_for(&self, job: Option<&SignedJob>, jti: Option<&str>) -> Result<HeaderValue, CliError> {
        let bearer = match self {
            Self::Given(token) => format!("Bearer {}", token.expose_secret()),
            Self::Signs(signer) => {
                let token = NewToken {
                    sub: signer.sub.clone(),
                    scope: signer.scope,
                    read: None,
                    ttl: TOKEN_TTL.min(signer.authenticator.lifetime_max()),
                    jti: jti.map(str::to_owned),
                    job: job.map(|job| job.claim.clone()),
                };
                let token = signer.authenticator.sign(&token, System::new().now()).map_err(TokenError::Sign)?;
                format!("Bearer {token}")
            }
        };
        let header = HeaderValue::try_from(bearer);
        let mut header =
            header.map_err(|_| CliError::Usage("the token has characters that no token has".to_owned()))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// A client of one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    /// Without a slash at its end. Behind a proxy the server may have a path of its own.
    base: String,
    http: reqwest::Client,
}

impl Client {
    fn new(server: &Url, may_use_proxy: bool) -> Result<Self, CliError> {
        let builder = reqwest::Client::builder()
            .user_agent(format!("pixerve/{}", VERSION.version))
            .connect_timeout(CONNECT_TIMEOUT)
            // What is posted and redirected is posted no more.
            .redirect(reqwest::redirect::Policy::none());
        let builder = if may_use_proxy { builder } else { builder.no_proxy() };
        let http = tls::client(builder).map_err(CliError::Client)?;
        Ok(Self { base: server.as_str().trim_end_matches('/').to_owned(), http })
    }

    /// The server's address.
    pub(super) fn server(&self) -> &str {
        &self.base
    }

    /// A request of `path`, which begins with a slash.
    pub(super) fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = Url::parse(&format!("{}{path}", self.base)).expect("INVARIANT: a path behind a URL is a URL");
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url)
    }

    /// The same with a token.
    pub(super) fn request_as(
        &self,
        credentials: &Credentials,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, CliError> {
        Ok(self.request(method, path, query).header(AUTHORIZATION, credentials.bearer()?))
    }

    /// The answer, whatever it says, with as much time as it takes.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn answer(&self, request: RequestBuilder) -> Result<Response, CliError> {
        request.send().await.map_err(|error| self.broken(error))
    }

    /// The answer of success, with as much time as it takes.
    ///
    /// # Errors
    /// If there is none, or another.
    pub(super) async fn success(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = self.answer(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        if let Some(location) = response.headers().get(reqwest::header::LOCATION) {
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            let detail = format!("it is elsewhere, at {}: give that as --server", output::Plain(&location));
            return Err(self.not_understood(detail));
        }
        Err(Problem::of(response).await.into())
    }

    /// The JSON of an answer of success, which soon comes.
    ///
    /// # Errors
    /// If there is none, or another.
    pub(super) async fn json(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = self.success(request.timeout(ANSWER_TIMEOUT)).await?;
        self.json_of(response).await
    }

    /// The JSON of an answer; none of an empty one.
    ///
    /// # Errors
    /// If it breaks off, or is no JSON.
    pub(super) async fn json_of(&self, response: Response) -> Result<Value, CliError> {
        let body = response.bytes().await.map_err(|error| self.broken(error))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| self.not_understood(format!("it is no JSON: {error}")))
    }

    /// That there is no answer.
    pub(super) fn broken(&self, source: reqwest::Error) -> CliError {
        CliError::Unreachable { server: self.base.clone(), source: source.without_url() }
    }

    /// That an answer is none of a server like this one.
    pub(super) fn not_understood(&self, detail: impl Into<String>) -> CliError {
        CliError::Answer { server: self.base.clone(), detail: detail.into() }
    }
}

/// Parses the address of a server.
///
/// # Errors
/// What it should be.
fn server_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| url.query().is_none() && url.fragment().is_none());
    url.ok_or_else(|| "must be such as http://127.0.0.1:8080".to_owned())
}

/// Where a server that listens on `addr` is reached from its own machine.
fn own_address(addr: SocketAddr) -> Result<Url, CliError> {
    if addr.port() == 0 {
        let why =
            format!("the system chose the server's port (addr is {addr}): name it with --server http://host:port");
        return Err(CliError::Usage(why));
    }
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let url = format!("http://{}", SocketAddr::new(ip, addr.port()));
    Ok(Url::parse(&url).expect("INVARIANT: an address and a port make a URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_the_loopback() {
        let asked = |addr: &str| own_address(addr.parse().expect("an address")).map(String::from);
        assert_eq!(asked("0.0.0.0:8080").expect("a URL"), "http://127.0.0.1:8080/");
        assert_eq!(asked("[::]:80").expect("a URL"), "http://[::1]/");
        assert_eq!(asked("10.1.2.3:9000").expect("a URL"), "http://10.1.2.3:9000/");
        assert!(asked("127.0.0.1:0").expect_err("no port").to_string().contains("--server"));
    }

    #[test]
    fn a_server_may_have_a_path_of_its_own_and_parameters_are_escaped() {
        let server = server_url("https://pixerve.example/images/").expect("a URL");
        let client = Client::new(&server, true).expect("a client");
        let request = client.request(Method::GET, "/status", &[("hash", "a&b_c d")]).build().expect("a request");
        assert_eq!(request.url().as_str(), "https://pixerve.example/images/status?hash=a%26b_c+d");
        for bad in ["", "localhost:8080", "ftp://pixerve.example", "http://pixerve.example/?a=b"] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }
}
