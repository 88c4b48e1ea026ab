//! What the servers logged: nothing that is a bug, and no more than what happened.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::process::Home;

/// Lines about one store that goes away, of one server: writes that fail before it counts as away.
const FAILURES_MAX: usize = 40;

/// Panics if a server logged an error or panicked, or if what waited for a store was logged again and again: more often
/// than there were requests that could go wrong and `outages` (those that a start begins in included).
pub(super) fn verdict(home: &Home, outages: usize, asked: usize) -> String {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut waiting_max = 0;
    // A line that a kill cut short is no JSON.
    for line in home.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let of = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        assert_ne!(of("level"), "ERROR", "{line}");
        waiting_max = waiting_max.max(line["waiting"].as_u64().unwrap_or(0));
        *counts.entry((of("level"), of("message"))).or_default() += 1;
    }
    assert!(!home.terminal().contains("panicked"), "{}", home.terminal());
    let count = |message: &str| counts.iter().filter(|((_, found), _)| found == message).map(|(_, n)| n).sum::<usize>();
    let failed = count("write failed; will be retried");
    assert!(failed <= asked + FAILURES_MAX * outages, "{failed} lines of writes that failed");
    let gone = count("store can't be reached; what is to be written there waits");
    assert!(gone > 0 && waiting_max > 0, "no store was away, or nothing waited for it");
    let shown = counts.iter().map(|((level, message), n)| format!("\n    {n} {level} {message}"));
    format!("up to {waiting_max} writes waited for the store at once; lines logged:{}", shown.collect::<String>())
}
