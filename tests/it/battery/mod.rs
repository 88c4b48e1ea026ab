//! The battery: what SAFETY means by "under everything". One module a group; each test in it does something hostile or
//! unlucky to a whole server and then asks whether every accepted job ended once, with every file it names intact.
//!
//! `cargo test` runs the quick ones. The others are ignored there and run by `make battery`, which shows the figures too.

mod auth;
mod bad_input;
mod browser;
mod connections;
mod counting;
mod crash;
mod dependencies;
mod description;
mod disk;
mod erasure;
mod exhaustion;
mod fairness;
mod garbage;
mod integrity;
mod load;
mod nodes;
mod packaging;
mod poison;
mod real_stores;
mod soak;
mod ssrf;
mod stages;
mod tiffs;
mod traversal;

/// Shows what was done, how often, and what held: a line of the battery's report.
fn figure(group: &str, what: impl std::fmt::Display) {
    println!("battery | {group} | {what}");
}
