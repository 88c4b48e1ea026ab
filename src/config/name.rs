//! The names of settings: `queue.lease` in files, `PIXERVE_QUEUE_LEASE` in the environment.

/// What every variable of Pixerve starts with.
pub(super) const PREFIX: &str = "PIXERVE_";

/// Settings that had another name before, which is understood still: the old one, and today's.
const RENAMED: [(&str, &str); 1] = [("worker.sandbox_keep", "worker.sandbox_idle_timeout")];

/// Settings that there were before, and what became of them.
const REMOVED: [(&str, &str); 5] = [
    (
        "stores.tries_max",
        "stores are tried for stores.give_up_after and stores.refused_give_up_after, however often that is",
    ),
    ("callback.tries_max", CALLBACK_WAITS),
    ("callback.backoff_min", CALLBACK_WAITS),
    ("callback.backoff_factor", CALLBACK_WAITS),
    ("callback.backoff_max", CALLBACK_WAITS),
];
const CALLBACK_WAITS: &str = "callback.retry_waits says how long to wait between tries, and so how many there are";

/// What became of a setting that was called `name` before and is no more.
pub(super) fn removed(name: &str) -> Option<&'static str> {
    REMOVED.iter().find(|(old, _)| *old == name).map(|(_, why)| *why)
}

/// What became of a setting whose variable was `variable` before and that is no more.
pub(super) fn removed_variable(variable: &str) -> Option<&'static str> {
    REMOVED.iter().find(|(old, _)| variable_of(old) == variable).map(|(_, why)| *why)
}

/// Today's name of a setting that was called `name` before.
pub(super) fn renamed(name: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == name).map(|(_, new)| *new)
}

/// Today's name of a setting whose variable was `variable` before.
pub(super) fn renamed_variable(variable: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| variable_of(old) == variable).map(|(_, new)| *new)
}

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const SIMILARITY_MIN: f64 = 0.75;

/// The environment variable of a setting.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The one of `names` that `name` may be a slip of.
pub(super) fn suggest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|candidate| (similarity(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}

/// The prefix that all variables share would make any two of them alike.
fn similarity(a: &str, b: &str) -> f64 {
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    strsim::normalized_damerau_levenshtein(&bare(a), &bare(b))
}
