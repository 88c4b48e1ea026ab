//! Which places have a file, in little memory: eight bytes of each, and of very many only of a part.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Places that are kept, at most: some 40 MB.
const KEPT_MAX: usize = 2_000_000;

/// Places that were seen. Of more than so many it is known of every second, fourth, eighth ... place alone, by its fingerprint,
/// whether it was.
#[derive(Debug)]
pub(super) struct Seen {
    fingerprints: HashSet<u64>,
    /// No higher ones are kept.
    bound: u64,
    kept_max: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { fingerprints: HashSet::new(), bound: u64::MAX, kept_max: KEPT_MAX }
    }
}

impl Seen {
    pub(super) fn add(&mut self, place: &str) {
        let fingerprint = fingerprint(place);
        if fingerprint > self.bound {
            return;
        }
        self.fingerprints.insert(fingerprint);
        while self.fingerprints.len() > self.kept_max {
            self.bound /= 2;
            self.fingerprints.retain(|fingerprint| *fingerprint <= self.bound);
        }
    }

    /// Whether there is a file; none if that isn't known of this place.
    pub(super) fn has(&self, place: &str) -> Option<bool> {
        let fingerprint = fingerprint(place);
        (fingerprint <= self.bound).then(|| self.fingerprints.contains(&fingerprint))
    }
}

fn fingerprint(place: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_and_of_too_much_a_part_never_wrongly() {
        let mut seen = Seen { kept_max: 100, ..Seen::default() };
        let place = |number: u32| format!("/files/{number}.jpg");
        for number in 0..100 {
            seen.add(&place(number));
        }
        assert!((0..100).all(|number| seen.has(&place(number)) == Some(true)));
        assert!((100..200).all(|number| seen.has(&place(number)) == Some(false)));
        for number in 0..10_000 {
            seen.add(&place(number));
        }
        assert!(seen.fingerprints.len() <= 100);
        let known: Vec<_> = (0..10_000).filter_map(|number| seen.has(&place(number))).collect();
        assert!((10..=100).contains(&known.len()) && known.iter().all(|was_seen| *was_seen), "{}", known.len());
        assert!((10_000..20_000).all(|number| seen.has(&place(number)) != Some(true)));
    }
}
