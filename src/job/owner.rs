//! Whose job it is.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The registered user whose key signed the token (none for the keys of `jwt.json`) and the token's subject.
/// Duplicates, cancelling, limits and turns go by owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The registered user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The token's `sub`, as it came.
    pub sub: String,
}

impl Owner {
    /// The part of a job's `hash` behind the `_`: the subject itself where it is plain and no user's, else `h-` and
    /// the hex SHA-256 of `<user> NUL <sub>`. The digest form has 66 characters, more than any plain subject may
    /// have, so the two can't collide.
    #[must_use]
    pub fn hash_part(&self) -> String {
        if self.user.is_none() && is_plain(&self.sub) {
            return self.sub.clone();
        }
        format!("h-{}", hex::encode(self.digest()))
    }

    /// 32 bytes that stand for this owner in database keys.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.user.as_deref().unwrap_or(""));
        hasher.update([0]);
        hasher.update(&self.sub);
        hasher.finalize().into()
    }
}

fn is_plain(sub: &str) -> bool {
    (1..=64).contains(&sub.len()) && sub.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: Option<&str>, sub: &str) -> Owner {
        Owner { user: user.map(str::to_owned), sub: sub.to_owned() }
    }

    #[test]
    fn a_plain_subject_stands_as_it_is() {
        assert_eq!(owner(None, "user-123").hash_part(), "user-123");
    }

    #[test]
    fn odd_subjects_and_users_are_digested_and_never_collide() {
        let slash = owner(None, "../etc").hash_part();
        let of_user = owner(Some("shop"), "user-123").hash_part();
        let longest_plain = "x".repeat(64);
        assert!(slash.starts_with("h-") && slash.len() == 66, "{slash}");
        assert!(of_user.starts_with("h-") && of_user != slash);
        assert_eq!(owner(None, &longest_plain).hash_part(), longest_plain);
        assert_ne!(owner(None, &"x".repeat(65)).hash_part(), "x".repeat(65));
        assert_ne!(owner(Some("a"), "b").digest(), owner(None, "a\0b").digest(), "an empty user is a user of its own");
    }
}
