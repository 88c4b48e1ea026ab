//! Whose job it is.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The registered user whose key signed the token (none for the keys of `jwt.json`) and the token's subject.
/// Duplicates and cancelling go by owner; turns by user and then by owner, limits by tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The registered user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The registered user's access key, which no later user of that name ever has. None in records that versions before
    /// 0.3.0 wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// The token's `sub`, as it came.
    pub sub: String,
}

/// Stands for an [`Owner`] in database keys and in memory.
pub type OwnerKey = [u8; 32];

/// Stands for a user in database keys and in memory: a registered one, or all keys of `jwt.json` together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey([u8; 32]);

/// Stands in memory for whom limits count for: a registered user with all its `sub`s, which it may invent as it likes, or one
/// `sub` of the keys of `jwt.json`, whose holder is trusted to say who is who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TenantKey {
    /// A registered user.
    User(UserKey),
    /// An owner without one.
    Owner(OwnerKey),
}

impl UserKey {
    /// Its bytes: database keys.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Owner {
    /// The user of whom this is an owner.
    #[must_use]
    pub fn user_key(&self) -> UserKey {
        let mut hasher = Sha256::new_with_prefix(self.user.as_deref().unwrap_or(""));
        self.add_access_key(&mut hasher);
        UserKey(hasher.finalize().into())
    }

    /// Whom limits count for.
    #[must_use]
    pub fn tenant_key(&self) -> TenantKey {
        match self.user {
            Some(_) => TenantKey::User(self.user_key()),
            None => TenantKey::Owner(self.digest()),
        }
    }

    /// The part of a job's `hash` behind the `_`: the subject itself where it is plain and no user's, else `h-` and
    /// the hex SHA-256 of `<user> NUL <sub>`. The digest form has 66 characters, more than any plain subject may
    /// have, so the two can't collide.
    #[must_use]
    pub fn hash_part(&self) -> String {
        if self.user.is_none() && is_plain(&self.sub) {
            return self.sub.clone();
        }
        format!("h-{}", hex::encode(self.names_digest()))
    }

    /// What stands for this owner. Neither a user nor a subject has a NUL, so what is behind the third is an access key.
    #[must_use]
    pub fn digest(&self) -> OwnerKey {
        let mut hasher = self.names_hasher();
        self.add_access_key(&mut hasher);
        hasher.finalize().into()
    }

    /// Whether the user's name and the subject are those of another owner, whose name may have been registered anew.
    #[must_use]
    pub fn has_names_of(&self, other: &Self) -> bool {
        (&self.user, &self.sub) == (&other.user, &other.sub)
    }

    /// The SHA-256 of `<user> NUL <sub>`, the user empty where there is none.
    pub(super) fn names_digest(&self) -> [u8; 32] {
        self.names_hasher().finalize().into()
    }

    fn names_hasher(&self) -> Sha256 {
        let mut hasher = Sha256::new_with_prefix(self.user.as_deref().unwrap_or(""));
        hasher.update([0]);
        hasher.update(&self.sub);
        hasher
    }

    fn add_access_key(&self, hasher: &mut Sha256) {
        if let Some(access_key) = &self.access_key {
            hasher.update([0]);
            hasher.update(access_key);
        }
    }
}

fn is_plain(sub: &str) -> bool {
    (1..=64).contains(&sub.len()) && sub.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(user: Option<&str>, sub: &str) -> Owner {
        Owner { user: user.map(str::to_owned), access_key: None, sub: sub.to_owned() }
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

    #[test]
    fn a_name_that_was_registered_again_is_another_owner_with_the_same_hashes() {
        let [old, new] =
            ["pxu_1", "pxu_2"].map(|key| Owner { access_key: Some(key.into()), ..owner(Some("shop"), "a") });
        let unnamed = owner(Some("shop"), "a");
        for (one, other) in [(&old, &new), (&old, &unnamed)] {
            assert_eq!(one.hash_part(), other.hash_part());
            assert!(one.has_names_of(other) && one != other);
            assert_ne!(one.digest(), other.digest());
            assert_ne!(one.tenant_key(), other.tenant_key());
        }
    }

    #[test]
    fn a_registered_user_is_one_tenant_and_each_subject_of_jwt_json_is_one() {
        let [shop_a, shop_b, a, b] =
            [(Some("shop"), "a"), (Some("shop"), "b"), (None, "a"), (None, "b")].map(|(user, sub)| owner(user, sub));
        assert_eq!((shop_a.tenant_key(), shop_a.user_key()), (shop_b.tenant_key(), shop_b.user_key()));
        assert_eq!(a.user_key(), b.user_key());
        let tenants = std::collections::HashSet::from([shop_a, a, b].map(|owner| owner.tenant_key()));
        assert_eq!(tenants.len(), 3);
    }
}
