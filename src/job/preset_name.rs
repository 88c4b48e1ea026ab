//! What presets are called.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The name of a preset: `[a-z0-9][a-z0-9_-]{0,63}`, so that it is the same in a path, as a file and in a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
pub struct PresetName(String);

impl PresetName {
    /// The same as a regular expression.
    pub const PATTERN: &'static str = "^[a-z0-9][a-z0-9_-]{0,63}$";
    /// What a text must be to be one.
    pub const RULE: &'static str =
        "the name of a preset: 1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit";

    const BYTES_MAX: usize = 64;

    /// `text` as one; none if no preset can have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(is_first);
        let is_plain = text.bytes().all(|byte| is_first(byte) || matches!(byte, b'_' | b'-'));
        (begins && is_plain && text.len() <= Self::BYTES_MAX).then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PresetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PresetName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("must be {}", Self::RULE))
    }
}

impl From<PresetName> for String {
    fn from(name: PresetName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::PresetName;

    #[test]
    fn a_name_is_short_plain_and_lower_case() {
        for good in ["a", "7", "avatar", "product-2_large", "0_", &"x".repeat(64)] {
            assert_eq!(PresetName::parse(good).expect(good).as_str(), good);
        }
        for bad in ["", "-a", "_a", "Avatar", "a.b", "a/b", "a b", "ä", "a\n", "..", &"x".repeat(65)] {
            assert_eq!(PresetName::parse(bad), None, "{bad:?}");
        }
    }
}
