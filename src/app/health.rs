//! `pixerve health`: asks a running server how it is, for whoever starts it again or sends it requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, StatusCode};
use url::Url;

use crate::config::Config;
use crate::error_chain::ErrorChain;
use crate::tls;

/// Container runtimes wait 30 s by default; a server that needs a third of that is not well.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom to ask what.
#[derive(Clone, Debug)]
pub struct HealthOptions {
    /// The server's address, http or https. None is the one that the settings say it listens on.
    pub server: Option<Url>,
    /// Only whether it answers at all.
    pub live: bool,
}

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHealth {
    /// As it should be.
    Good,
    /// It answers, but should be sent no requests: what it said.
    Bad(String),
    /// It doesn't answer: why.
    Unreachable(String),
}

/// Asks the server.
///
/// # Errors
/// If it can't be told which one: the settings leave the port to the system.
pub async fn health(config: &Config, options: HealthOptions) -> anyhow::Result<ServerHealth> {
    let HealthOptions { server, live } = options;
    let server = server.map_or_else(|| own_address(config.addr), Ok)?;
    // Behind a proxy it may have a path of its own.
    let path = if live { "health/live" } else { "health" };
    let url = format!("{}/{path}", server.as_str().trim_end_matches('/'));
    let client = Client::builder().timeout(TIMEOUT).no_proxy();
    let client = tls::client(client).context("setting up an HTTP client")?;
    let reply = match client.get(&url).send().await {
        Ok(reply) => reply,
        Err(error) => {
            let error = ErrorChain(&error.without_url()).to_string();
            return Ok(ServerHealth::Unreachable(format!("{url}: {error}")));
        }
    };
    let status = reply.status();
    let said = reply.text().await.unwrap_or_default();
    Ok(if status == StatusCode::OK { ServerHealth::Good } else { ServerHealth::Bad(format!("{status}: {said}")) })
}

/// Where a server with these settings is reached from its own machine.
fn own_address(addr: SocketAddr) -> anyhow::Result<Url> {
    if addr.port() == 0 {
        bail!("the system chose the server's port (addr is {addr}): name it with --server http://host:port");
    }
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, addr.port()))).context("the server's address")
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
}
