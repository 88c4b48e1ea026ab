//! What an installation needs to be well: its keys, directories, databases, its clock, the system it runs on, its stores, its
//! queue. One file a family of checks.
//!
//! Whoever stands beside a server looks at what lies on its machine ([`Premises::look`]), before it starts too; the server itself
//! looks at the same, and at what it alone has. Nothing here changes anything, but for the small files and objects by which
//! directories and stores are tried, which go again.

mod backup;
mod callbacks;
mod check;
mod clock;
mod databases;
mod directories;
mod keys;
mod open_files;
mod premises;
mod presets;
mod queue;
mod sandbox;
mod settings;
mod stores;

pub use backup::{Backup, look_at_backup};
pub use callbacks::{callback_addresses, given_up_callbacks};
pub use check::{Check, CheckState};
pub use clock::trusted_clock;
pub use keys::sealing_keys_in_use;
pub use open_files::connections_for;
pub use premises::{AskedBy, Premises};
pub use queue::{queue, store_breakers};
pub use sandbox::sandbox;
pub use settings::settings;
pub use stores::stores;
