//! What this program was built from.

use serde::Serialize;
use utoipa::ToSchema;

/// What `/version` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Version {
    /// The release, such as `0.1.0`.
    pub version: &'static str,
    /// When it was built: RFC 3339 in UTC.
    pub build_time: &'static str,
    /// The compiler's release, such as `1.95.0`.
    pub rust_version: &'static str,
    /// The commit's hash in hex, or `unknown` where there was no repository.
    pub git_commit: &'static str,
}

/// This program.
pub const VERSION: Version = Version {
    version: env!("CARGO_PKG_VERSION"),
    build_time: env!("PIXERVE_BUILD_TIME"),
    rust_version: env!("PIXERVE_BUILD_RUSTC"),
    git_commit: env!("PIXERVE_BUILD_COMMIT"),
};

/// What `pixerve --version` prints behind the name.
pub const VERSION_LINE: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("PIXERVE_BUILD_COMMIT"),
    ", built ",
    env!("PIXERVE_BUILD_TIME"),
    " with Rust ",
    env!("PIXERVE_BUILD_RUSTC"),
    ")"
);

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[test]
    fn the_build_is_dated_and_names_its_compiler() {
        assert!(OffsetDateTime::parse(VERSION.build_time, &Rfc3339).is_ok(), "{}", VERSION.build_time);
        assert!(VERSION.rust_version.starts_with("1."), "{}", VERSION.rust_version);
    }

    #[test]
    fn the_commit_is_a_hash_or_unknown() {
        let is_hash = VERSION.git_commit.len() >= 40 && VERSION.git_commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash || VERSION.git_commit == "unknown", "{}", VERSION.git_commit);
    }
}
