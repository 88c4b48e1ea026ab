//! What `make run` ends with: the page's address, and a token and a line to try it with.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::App;
use crate::auth::NewToken;
use crate::config::Config;
use crate::job::PublicUrl;

/// How long the printed token is valid.
const TTL: Duration = Duration::from_hours(12);

/// Has the demo know where it is reached, so that files have addresses and pictures markup before anybody has set anything.
pub(super) fn tell_address(config: &mut Config) {
    let addr = reached_at(config.addr);
    // One that the system is to choose isn't known before it has.
    if addr.port() != 0 {
        config.suggest_public_url(&PublicUrl::at(addr));
    }
}

/// Where a browser on this machine reaches a server that listens there.
fn reached_at(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    addr
}

/// Prints where the page is, a token for a small job, and the curl line that uses it.
pub(super) fn print(app: &App) -> anyhow::Result<()> {
    let job = json!({
        "formats": {
            "avif": {"sizes": [[1600], [800]]},
            "webp": {"sizes": [[1600], [800]]},
            "jpg": {"sizes": [[1600], [800], [400, 400]]},
        },
        "keepOriginal": true,
        "directHost": true,
    });
    let token = NewToken { sub: "demo".into(), scope: None, read: None, ttl: TTL, jti: None, job: Some(job) };
    let state = app.state();
    let token = state.auth.sign(&token, state.clock.now())?;
    let addr = reached_at(app.addr());
    let token = format!("TOKEN={token}");
    writeln!(
        std::io::stdout(),
        "\nPixerve is running. Try it in a browser on this machine:\n\n\
         http://{addr}/\n\n\
         or in another terminal, from a directory with a photo.jpg in it:\n\n\
         {token}\n\n\
         curl -F file=@photo.jpg -H \"Authorization: Bearer $TOKEN\" http://{addr}/upload\n\n\
         The answer names the files it makes. A moment later a browser shows them under http://{addr}/files/<name>,\n\
         and http://{addr}<status_url> tells how far it is. Ctrl-C stops the server.\n"
    )
    .context("writing the demo's token to standard output")
}
