//! What names, addresses and credentials of a bucket may look like, wherever they are written.

use url::Url;

pub(crate) const URL_BYTES_MAX: usize = 2 * 1024;
/// Bytes of the id, and of the key.
const CREDENTIAL_BYTES_MAX: usize = 1024;

/// A bucket's name: 3 to 222 of `[A-Za-z0-9._-]`, starting and ending with a letter or digit, without `..`.
pub(crate) fn is_bucket(text: &str) -> bool {
    let ends_ok = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (3..=222).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && ends_ok(text.chars().next())
        && ends_ok(text.chars().last())
        && !text.contains("..")
}

/// The URL of a store: `http://` or `https://`, without credentials, query and fragment.
pub(crate) fn endpoint(text: &str) -> Option<Url> {
    let url = (text.len() <= URL_BYTES_MAX).then(|| Url::parse(text).ok()).flatten()?;
    let ok = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    ok.then_some(url)
}

pub(crate) fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

pub(crate) fn is_credential(text: &str) -> bool {
    (1..=CREDENTIAL_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The id goes into the signature's scope, where `/` and `,` separate.
pub(crate) fn is_access_key_id(text: &str) -> bool {
    is_credential(text) && !text.contains(['/', ','])
}
