//! The claim of a token that reads private files.

use serde_json::{Map, Value};

use super::AuthError;

/// Paths that one token may have.
const PATHS_MAX: usize = 32;

const CLAIM: &str = "read";
const EXPECTED: &str = "must be the location of a private file, or a prefix of some that ends in `/`, or an array of 1 to 32 of \
     those: each begins with `/`, and none has `.` or `..` for a segment";

/// Which private files a token reads: those at a location, and those below a prefix that ends in `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPaths(Vec<String>);

impl ReadPaths {
    /// The token's `read`; none if it has none. One that is `null` is bad, too: whoever writes the claim means it.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn of_claims(claims: &Map<String, Value>) -> Result<Option<Self>, AuthError> {
        let Some(value) = claims.get(CLAIM) else { return Ok(None) };
        let paths = match value {
            Value::String(path) => vec![path.as_str()],
            Value::Array(paths) if paths.len() <= PATHS_MAX => {
                paths.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(bad)?
            }
            _ => return Err(bad()),
        };
        Self::new(paths).map(Some)
    }

    /// Some paths.
    ///
    /// # Errors
    /// If a token can't have them.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, AuthError> {
        let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
        let is_good = (1..=PATHS_MAX).contains(&paths.len()) && paths.iter().all(|path| is_path(path));
        if is_good { Ok(Self(paths)) } else { Err(bad()) }
    }

    /// Whether the file at `location` is among them, byte by byte.
    #[must_use]
    pub fn cover(&self, location: &str) -> bool {
        self.0.iter().any(|path| if path.ends_with('/') { location.starts_with(&**path) } else { location == path })
    }

    /// As a token has them.
    pub(super) fn to_claim(&self) -> Value {
        match &self.0[..] {
            [path] => path.as_str().into(),
            paths => paths.into(),
        }
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn bad() -> AuthError {
    AuthError::BadClaim { claim: CLAIM, expected: EXPECTED }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Option<ReadPaths>, AuthError> {
        ReadPaths::of_claims(&Map::from_iter([(CLAIM.to_owned(), value)]))
    }

    #[test]
    fn a_location_covers_itself_and_a_prefix_what_is_below_it() {
        let paths = read(json!(["/private/o/a.jpg", "/private/o/b/"])).expect("good").expect("some");
        for (location, is_covered) in [
            ("/private/o/a.jpg", true),
            ("/private/o/b/c.jpg", true),
            ("/private/o/b/c/d.jpg", true),
            ("/private/o/b", false),
            ("/private/o/bc.jpg", false),
            ("/private/o/a.jpg2", false),
            ("/private/o/A.jpg", false),
            ("/private/o/a%2ejpg", false),
        ] {
            assert_eq!(paths.cover(location), is_covered, "{location}");
        }
        assert_eq!(ReadPaths::of_claims(&Map::new()), Ok(None));
    }

    #[test]
    fn what_is_no_location_and_no_prefix_makes_a_bad_token() {
        let many = |count: usize| json!(vec!["/private/o/a.jpg"; count]);
        assert!(read(many(32)).is_ok() && read(json!("/")).is_ok());
        for bad in [
            json!([]),
            many(33),
            json!(null),
            json!(""),
            json!([""]),
            json!({}),
            json!(true),
            json!(["/private/o/", 1]),
            json!("private/o/"),
            json!("/private/o/../p/"),
            json!("/private/./o/"),
            json!("/private/o/.."),
            json!(["/private/o/", "/private/."]),
        ] {
            assert!(matches!(read(bad.clone()), Err(AuthError::BadClaim { claim: "read", .. })), "{bad}");
        }
    }
}
