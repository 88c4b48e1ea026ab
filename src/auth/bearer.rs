//! The `Authorization` header.

use super::AuthError;

/// The token in the value of an `Authorization` header.
///
/// # Errors
/// [`AuthError::NotBearer`] if the header carries anything but one bearer token.
pub fn bearer(header_value: &str) -> Result<&str, AuthError> {
    let (scheme, token) = header_value.trim().split_once(' ').ok_or(AuthError::NotBearer)?;
    let token = token.trim_start();
    let one_word = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if scheme.eq_ignore_ascii_case("bearer") && one_word { Ok(token) } else { Err(AuthError::NotBearer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert_eq!(bearer("Bearer a.b.c"), Ok("a.b.c"));
        assert_eq!(bearer("bEARER   a.b.c "), Ok("a.b.c"));
    }

    #[test]
    fn anything_but_one_bearer_token_is_refused() {
        for bad in ["", "Bearer", "Bearer ", "a.b.c", "Basic dXNlcjpwYXNz", "Bearer a b", "Bearer a,b", "Bearer\ta"] {
            assert_eq!(bearer(bad), Err(AuthError::NotBearer), "{bad:?}");
        }
    }
}
