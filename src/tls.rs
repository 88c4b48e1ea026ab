//! Whom this machine trusts when it speaks TLS.

use std::sync::LazyLock;

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
