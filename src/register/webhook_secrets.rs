//! The secrets that calls are signed with, for as long as each is good.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::job::WebhookSecret;

/// How long a secret signs beside its successor: time for a receiver to learn the new one.
const OVERLAP: Duration = Duration::from_hours(24);

/// A secret, and the one before it while that is good.
#[derive(Clone, Debug, Default)]
pub struct WebhookSecrets {
    newest: Option<WebhookSecret>,
    /// Until when.
    before: Option<(WebhookSecret, Timestamp)>,
}

impl WebhookSecrets {
    /// One, good until it is renewed.
    pub(super) fn of(secret: WebhookSecret) -> Self {
        Self { newest: Some(secret), before: None }
    }

    /// The same with a new one.
    pub(super) fn renewed(&self, secret: WebhookSecret, now: Timestamp) -> Self {
        let before = self.newest.clone().map(|before| (before, now.after(OVERLAP)));
        Self { newest: Some(secret), before }
    }

    /// Those that sign at this time, the newest first.
    #[must_use]
    pub fn good_at(&self, now: Timestamp) -> Vec<WebhookSecret> {
        let before = self.before.iter().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        self.newest.iter().chain(before).cloned().collect()
    }
}

/// As it is kept, sealed with what it belongs to.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<Exposed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<(Exposed, Timestamp)>,
}

/// Only ever written to be sealed at once.
struct Exposed(WebhookSecret);

impl Serialize for Exposed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.text().expose_secret())
    }
}

impl<'de> Deserialize<'de> for Exposed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SecretString::deserialize(deserializer)?;
        WebhookSecret::parse(text.expose_secret())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("no webhook secret"))
    }
}

impl Serialize for WebhookSecrets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let newest = self.newest.clone().map(Exposed);
        let before = self.before.clone().map(|(secret, until)| (Exposed(secret), until));
        Kept { newest, before }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WebhookSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Kept { newest, before } = Kept::deserialize(deserializer)?;
        let before = before.map(|(Exposed(secret), until)| (secret, until));
        Ok(Self { newest: newest.map(|Exposed(secret)| secret), before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(secrets: &WebhookSecrets, now: Timestamp) -> Vec<String> {
        secrets.good_at(now).iter().map(|secret| secret.text().expose_secret().to_owned()).collect()
    }

    #[test]
    fn at_most_the_newest_two_sign_and_the_older_for_a_day() {
        let [a, b, c] = [(); 3].map(|()| WebhookSecret::generate().expect("random"));
        let [text_a, text_b, text_c] = [&a, &b, &c].map(|secret| secret.text().expose_secret().to_owned());
        let now = Timestamp::from_millis(1_000_000);
        let day = now.after(OVERLAP);
        let one = WebhookSecrets::of(a);
        assert_eq!(texts(&one, day), [text_a.as_str()]);
        let two = one.renewed(b, now);
        assert_eq!(texts(&two, now), [text_b.as_str(), &text_a]);
        assert_eq!(texts(&two, day), [text_b.as_str()]);
        let three = two.renewed(c, now);
        assert_eq!(texts(&three, now), [text_c.as_str(), &text_b]);

        let kept = serde_json::to_string(&three).expect("JSON");
        let read: WebhookSecrets = serde_json::from_str(&kept).expect("it is read");
        assert_eq!(texts(&read, now), texts(&three, now));
        assert_eq!(texts(&WebhookSecrets::default(), now), [""; 0]);
    }
}
