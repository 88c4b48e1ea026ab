//! Whom this machine trusts when it speaks TLS.

use std::sync::LazyLock;

use reqwest::{Client, ClientBuilder, Error};

/// What to do where there are no certificates.
pub const NO_CERTIFICATES: &str = "this machine has no CA certificates to know servers by; install them (the package \
    ca-certificates of Debian, Ubuntu and Alpine), or name a file of them in SSL_CERT_FILE, and restart Pixerve";

/// Whether this machine has certificates of authorities, by which others' are checked: those of the system, or what
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Asked once, as every client does.
#[must_use]
pub fn has_certificates() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| !rustls_native_certs::load_native_certs().certs.is_empty());
    *FOUND
}

/// The client that `builder` describes. One that looks for certificates where there are none can't be made, so this one
/// does without: it speaks plain HTTP still.
///
/// # Errors
/// If TLS can't be set up.
pub fn client(builder: ClientBuilder) -> Result<Client, Error> {
    without_missing(builder).build()
}

/// The same, not built yet.
pub fn without_missing(builder: ClientBuilder) -> ClientBuilder {
    if has_certificates() { builder } else { builder.tls_certs_only([]) }
}
