//! One key: what it is registered for, and the signatures it checks and makes.

use jsonwebtoken::crypto::{self, aws_lc};
use jsonwebtoken::{DecodingKey, EncodingKey};

/// Bytes a shared secret must have: as many as the hash it is used with.
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// Bits an RSA modulus may have.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// A point of P-256, uncompressed.
const P256_POINT_BYTES: usize = 65;
const ED25519_KEY_BYTES: usize = 32;

/// What a key may be registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// `EdDSA` on Curve25519 (RFC 8032); Ed448 is not taken.
    EdDsa,
}

impl Algorithm {
    /// All names, for messages.
    pub const NAMES: &str = "HS256, RS256, ES256 and EdDSA";

    /// The algorithm of this name, which is case-sensitive: `none` and its spellings are no algorithm.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// Its name in `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Why a key can't be used. The messages never contain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It could be guessed.
    #[error(
        "the secret has {bytes} bytes and must have at least {SECRET_BYTES_MIN}; `openssl rand -base64 48` makes one"
    )]
    ShortSecret {
        /// How many it has.
        bytes: usize,
    },
    /// Whoever knows the public key could sign.
    #[error("the secret is a PEM key: register it as `public_key_pem` of RS256, ES256 or EdDSA")]
    PemAsSecret,
    /// No public key for the algorithm.
    #[error("`public_key_pem` must be a PEM of a public key for {} (`-----BEGIN PUBLIC KEY-----`)", .0.as_str())]
    NoPublicKey(Algorithm),
    /// Too small to be safe, or too large to be checked.
    #[error("the RSA key has {bits} bits and must have 2048 to 8192")]
    RsaSize {
        /// How many it has.
        bits: usize,
    },
    /// No private key for the algorithm.
    #[error("`private_key_pem` must be an unencrypted PKCS #8 private key for {} (`-----BEGIN PRIVATE KEY-----`)", .0.as_str())]
    NoPrivateKey(Algorithm),
    /// Tokens signed with the one would not verify with the other.
    #[error("`private_key_pem` and `public_key_pem` don't belong together")]
    Unpaired,
}

/// A key, bound to its one algorithm.
#[derive(Debug)]
pub(super) struct Key {
    algorithm: Algorithm,
    verifying: DecodingKey,
    signing: Option<EncodingKey>,
}

impl Key {
    /// A shared secret, used as it is.
    pub(super) fn shared(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret { bytes: secret.len() });
        }
        if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err(KeyError::PemAsSecret);
        }
        let verifying = DecodingKey::from_secret(secret);
        Ok(Self { algorithm: Algorithm::Hs256, verifying, signing: Some(EncodingKey::from_secret(secret)) })
    }

    /// The public key of a key pair; with the private one it can sign, too. `algorithm` is not [`Algorithm::Hs256`].
    pub(super) fn pair(algorithm: Algorithm, public_pem: &str, private_pem: Option<&str>) -> Result<Self, KeyError> {
        let verifying = public_key(algorithm, public_pem)?;
        let signing = private_pem.map(|pem| private_key(algorithm, pem)).transpose()?;
        let key = Self { algorithm, verifying, signing };
        if key.can_sign() {
            let probe = b"probe";
            let signature = key.sign(probe).ok_or(KeyError::NoPrivateKey(algorithm))?;
            if !key.verifies(probe, &signature) {
                return Err(KeyError::Unpaired);
            }
        }
        Ok(key)
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    /// Whether `signature` (base64url without padding) is this key's under `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        crypto::verify(signature, message, &self.verifying, self.algorithm.library()).unwrap_or(false)
    }

    /// The signature under `message`, base64url without padding; none if this key can't sign.
    pub(super) fn sign(&self, message: &[u8]) -> Option<String> {
        crypto::sign(message, self.signing.as_ref()?, self.algorithm.library()).ok()
    }
}

fn public_key(algorithm: Algorithm, pem: &str) -> Result<DecodingKey, KeyError> {
    let unusable = KeyError::NoPublicKey(algorithm);
    // The library also takes certificates, and private RSA keys as public ones; neither ever verifies anything.
    if !pem.contains("-----BEGIN PUBLIC KEY-----") && !pem.contains("-----BEGIN RSA PUBLIC KEY-----") {
        return Err(unusable);
    }
    let parsed = match algorithm {
        Algorithm::Hs256 => return Err(unusable),
        Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
        Algorithm::Es256 => DecodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDsa => DecodingKey::from_ed_pem(pem.as_bytes()),
    };
    let key = parsed.map_err(|_| unusable)?;
    let bytes = key.try_get_as_bytes().map_err(|_| unusable)?;
    match algorithm {
        Algorithm::Rs256 => check_rsa_size(bytes)?,
        Algorithm::Es256 if bytes.len() != P256_POINT_BYTES || bytes[0] != 4 => return Err(unusable),
        Algorithm::EdDsa if bytes.len() != ED25519_KEY_BYTES => return Err(unusable),
        Algorithm::Hs256 | Algorithm::Es256 | Algorithm::EdDsa => {}
    }
    Ok(key)
}

fn check_rsa_size(der: &[u8]) -> Result<(), KeyError> {
    let components = (aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der);
    let (modulus, _) = components.map_err(|_| KeyError::NoPublicKey(Algorithm::Rs256))?;
    let leading_zeros = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - leading_zeros;
    if RSA_BITS.contains(&bits) { Ok(()) } else { Err(KeyError::RsaSize { bits }) }
}

fn private_key(algorithm: Algorithm, pem: &str) -> Result<EncodingKey, KeyError> {
    let unusable = KeyError::NoPrivateKey(algorithm);
    if !pem.contains("PRIVATE KEY-----") {
        return Err(unusable);
    }
    let parsed = match algorithm {
        Algorithm::Hs256 => return Err(unusable),
        Algorithm::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
        Algorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
    };
    parsed.map_err(|_| unusable)
}

#[cfg(test)]
mod tests;
