//! The settings: whether they can be read, and what of them has no effect.

use super::Check;

const NAME: &str = "settings";

/// What reading them came to: each error, or each warning, in its own words, which say where it stands.
pub fn settings(errors: impl IntoIterator<Item = String>, warnings: impl IntoIterator<Item = String>) -> Vec<Check> {
    let failed = errors.into_iter().map(|error| {
        Check::failed(NAME, error, "mend it: config/default.toml, and `.env.example`, say what each setting may be; the server refuses to start")
    });
    let ignored = warnings.into_iter().map(|warning| {
        Check::warning(NAME, warning, "take it out, or write what was meant: the server starts without it")
    });
    let checks: Vec<_> = failed.chain(ignored).collect();
    if checks.is_empty() { vec![Check::ok(NAME, "they can be read, and go together")] } else { checks }
}
