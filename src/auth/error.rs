//! Why a token was refused.

use std::time::Duration;

use super::key::Algorithm;
use super::scope::Scope;
use crate::clock::Timestamp;

/// Why a request may not do what it asks. Everything but [`AuthError::MissingScope`] and [`AuthError::OnlyReads`] means that its
/// token isn't valid (a 401); those mean that it is, but not for this (a 403).
///
/// The messages are for the client and never contain the token or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// There is none.
    #[error("a token is missing: send `Authorization: Bearer <token>`")]
    Missing,
    /// There is none in the header, and none before the file.
    #[error(
        "no token came before the file: send `Authorization: Bearer <token>`, or the part named `token` before the part named \
         `file`; behind it, it is not looked for"
    )]
    MissingBeforeFile,
    /// The header carries something else.
    #[error("the Authorization header must be `Bearer` and one token")]
    NotBearer,
    /// It is longer than any token needs to be.
    #[error("the token is longer than {max} bytes")]
    TooLong {
        /// The most it may have.
        max: usize,
    },
    /// It is not a signed token at all.
    #[error("the token is malformed: {detail}")]
    Malformed {
        /// What is wrong with its form.
        detail: String,
    },
    /// Its header asks for something that is never granted.
    #[error("the token's header must not have `{field}`")]
    ForbiddenHeader {
        /// The header's field.
        field: &'static str,
    },
    /// Its `alg` is none of ours, or `none`.
    #[error("the token's `alg` must be one of {}", Algorithm::NAMES)]
    UnsupportedAlgorithm,
    /// Its `kid` names no key.
    #[error("the token's `kid` names no known key")]
    UnknownKid,
    /// Its `alg` is not that of the key it names.
    #[error("the token's `alg` must be {}, which its `kid` is registered for", .registered.as_str())]
    WrongAlgorithm {
        /// What the key is for.
        registered: Algorithm,
    },
    /// It names no key, and there is none for its `alg`.
    #[error(
        "the token has no `kid`, and no key of jwt.json is for {}; the token of a registered user carries the user's access \
         key as the `kid` of its header",
        .algorithm.as_str()
    )]
    NoKeyFor {
        /// Its `alg`.
        algorithm: Algorithm,
    },
    /// It names no key, and no key of `jwt.json` signed it.
    #[error(
        "the token's signature is that of no key of jwt.json; the token of a registered user carries the user's access key \
         as the `kid` of its header"
    )]
    UnknownSigner,
    /// It was not signed by the key it should be, or was changed since.
    #[error("the token's signature is not valid")]
    BadSignature,
    /// It lacks a claim.
    #[error("the token's `{claim}` is missing")]
    MissingClaim {
        /// Which.
        claim: &'static str,
    },
    /// It has a claim of the wrong type or value.
    #[error("the token's `{claim}` {expected}")]
    BadClaim {
        /// Which.
        claim: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Its time is over.
    #[error("the token expired at {since}")]
    Expired {
        /// Since when.
        since: Timestamp,
    },
    /// Its time has not come, by our clock.
    #[error("the token's `{claim}` is in the future: {at}")]
    NotYet {
        /// `iat` or `nbf`.
        claim: &'static str,
        /// When that is.
        at: Timestamp,
    },
    /// It is good for too long a time.
    #[error("the token may live at most {} s from `iat` to `exp`", .max.as_secs())]
    LivesTooLong {
        /// The most it may live.
        max: Duration,
    },
    /// It is good, but for reading private files alone.
    #[error("the token has a `read` claim, and is good for reading private files alone")]
    OnlyReads,
    /// It is good, but not for this.
    #[error("the token lacks the scope `{scope}`, or its key may not grant it")]
    MissingScope {
        /// The least that would do.
        scope: Scope,
    },
}
