//! How far a token reaches.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// What a token may do besides uploading and cancelling what is its owner's. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Manage the jobs of the token's own owner.
    Manage,
    /// Manage those of every `sub` of the user whose key signed it; of the keys of `jwt.json`, of every `sub` of theirs.
    ManageUser,
    /// Everything. Counts for keys of `jwt.json` alone.
    Admin,
}

impl Scope {
    /// All there are, the least first.
    pub const ALL: [Self; 3] = [Self::Manage, Self::ManageUser, Self::Admin];

    /// Its word in a token's `scope`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Manage => "manage",
            Self::ManageUser => "manage-user",
            Self::Admin => "admin",
        }
    }

    /// The widest of those that the `scope` claim names, words separated by spaces; `may_be_admin` says whether its key may
    /// grant that one.
    pub(super) fn of_claims(claims: &Map<String, Value>, may_be_admin: bool) -> Option<Self> {
        let words = claims.get("scope").and_then(Value::as_str)?;
        let granted = words.split(' ').filter_map(|word| word.parse().ok());
        granted.filter(|scope| *scope != Self::Admin || may_be_admin).max()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a word is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be manage, manage-user or admin")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(word: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.word() == word).ok_or(UnknownScope)
    }
}
