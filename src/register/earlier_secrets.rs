//! The secrets that a user signed tokens with before its present one, for as long as each is good.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::clock::Timestamp;

/// As many are kept: each is one more signature that a bad token costs.
const KEPT_MAX: usize = 8;

/// Secrets that were replaced, the newest first, each with when it is taken no more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EarlierSecrets(Vec<EarlierSecret>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct EarlierSecret {
    #[serde(serialize_with = "exposed")]
    secret: SecretString,
    until: Timestamp,
}

impl EarlierSecrets {
    /// The same with the one that is replaced, if anybody has it. It is good for `overlap` from now on, and so are those before it, but for none
    /// longer than it was: without an overlap, all of them are good no more.
    pub(super) fn with(&self, replaced: Option<SecretString>, now: Timestamp, overlap: Duration) -> Self {
        let until = now.after(overlap);
        let before = self.0.iter().map(|earlier| EarlierSecret { until: earlier.until.min(until), ..earlier.clone() });
        let all = replaced.map(|secret| EarlierSecret { secret, until }).into_iter().chain(before);
        Self(all.filter(|earlier| now < earlier.until).take(KEPT_MAX).collect())
    }

    /// Those that are good at this time.
    #[must_use]
    pub fn good_at(&self, now: Timestamp) -> Vec<SecretString> {
        self.0.iter().filter(|earlier| now < earlier.until).map(|earlier| earlier.secret.clone()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Only ever called to be sealed at once.
fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(secrets: &EarlierSecrets, now: Timestamp) -> Vec<String> {
        secrets.good_at(now).iter().map(|secret| secret.expose_secret().to_owned()).collect()
    }

    #[test]
    fn each_is_good_for_its_overlap_and_a_shorter_one_ends_those_before_it_too() {
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        let now = Timestamp::from_millis(1_000_000);
        let one = EarlierSecrets::default().with(Some("a".into()), now, day);
        assert_eq!(texts(&one, now), ["a"]);
        assert_eq!(texts(&one, now.after(day)), [""; 0]);
        let two = one.with(Some("b".into()), now.after(hour), day);
        assert_eq!(texts(&two, now.after(hour)), ["b", "a"]);
        assert_eq!(texts(&two, now.after(day)), ["b"], "the first ends when it would have");
        let short = two.with(Some("c".into()), now.after(hour), hour);
        assert_eq!(texts(&short, now.after(hour)), ["c", "b", "a"]);
        assert_eq!(texts(&short, now.after(hour).after(hour)), [""; 0]);
        let at_once = two.with(Some("c".into()), now.after(hour), Duration::ZERO);
        assert!(at_once.is_empty());
        let of_nobody = two.with(None, now.after(hour), day);
        assert_eq!(texts(&of_nobody, now.after(hour)), ["b", "a"]);

        let kept = serde_json::to_string(&two).expect("JSON");
        let read: EarlierSecrets = serde_json::from_str(&kept).expect("it is read");
        assert_eq!(texts(&read, now.after(hour)), texts(&two, now.after(hour)));
    }

    #[test]
    fn no_more_are_kept_than_a_bad_token_may_cost() {
        let now = Timestamp::from_millis(1_000_000);
        let rotated = (0..20).fold(EarlierSecrets::default(), |secrets, n| {
            secrets.with(Some(n.to_string().into()), now, Duration::from_hours(24))
        });
        assert_eq!(texts(&rotated, now), ["19", "18", "17", "16", "15", "14", "13", "12"]);
    }
}
