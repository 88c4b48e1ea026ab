//! Authentication and authorisation: the keys of `jwt.json`, the tokens they sign, and what a token's claims say.
//!
//! Everything here is a function of its arguments: the keys, the token, the time, and the registered users' secrets,
//! which another room holds and lends through [`UserKeys`].

mod bearer;
mod claims;
mod error;
mod key;
mod key_ring;
mod read_claim;
mod scope;
mod settings;
mod sign;
mod strict_json;
mod user;
mod verify;

pub use bearer::bearer;
pub use error::AuthError;
pub use key::{Algorithm, KeyError};
pub use key_ring::{KeyRing, KeyRingError};
pub use read_claim::ReadPaths;
pub use scope::{Scope, UnknownScope};
pub use settings::{AuthSettings, TOKEN_BYTES_MAX};
pub use sign::{NewToken, SignError};
pub use user::{UserKey, UserKeys};
pub use verify::{Authenticator, Verified};
