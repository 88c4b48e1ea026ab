//! The directory of an owner's private files.

use std::fmt;

use super::Owner;

/// Bytes of the digest that are shown.
const BYTES: usize = 16;

/// Stands for an owner in the locations of its private files: the first 32 hex digits of the SHA-256 of `<user> NUL <sub>`, with
/// the registered user's name, or nothing for the keys of `jwt.json`. Whoever has a name now and whoever had it before share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrivateOwner([u8; BYTES]);

impl PrivateOwner {
    /// Reads 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let owner = Self(bytes);
        (owner.to_string() == text).then_some(owner)
    }
}

impl Owner {
    /// Where its private files are.
    #[must_use]
    pub fn private_owner(&self) -> PrivateOwner {
        let digest = self.names_digest();
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&digest[..BYTES]);
        PrivateOwner(bytes)
    }
}

impl fmt::Display for PrivateOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_the_first_half_of_a_sha_256_of_user_and_subject() {
        let owner = |user: Option<&str>, access_key: Option<&str>| Owner {
            user: user.map(str::to_owned),
            access_key: access_key.map(str::to_owned),
            sub: "user-123".to_owned(),
        };
        // printf '\0user-123' | sha256sum; printf 'shop\0user-123' | sha256sum
        let own = owner(None, None).private_owner();
        assert_eq!(own.to_string(), "98332ce891f11faaf7c02ef5478373c2");
        let shop = owner(Some("shop"), Some("pxu_1")).private_owner();
        assert_eq!(shop.to_string(), "7ad84e1c8b6b4e02360ab499842eccd6");
        assert_eq!(owner(Some("shop"), Some("pxu_2")).private_owner(), shop);
        assert_eq!(PrivateOwner::parse(&shop.to_string()), Some(shop));
        for bad in ["", &shop.to_string().to_uppercase(), &shop.to_string()[1..], &format!("{shop}0"), "../x"] {
            assert_eq!(PrivateOwner::parse(bad), None, "{bad}");
        }
    }
}
