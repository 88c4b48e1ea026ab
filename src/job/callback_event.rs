//! Of what a job's callback tells.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;

/// What happened to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum CallbackEvent {
    /// Every file is stored everywhere.
    #[serde(rename = "job.completed")]
    Completed,
    /// It was given up.
    #[serde(rename = "job.failed")]
    Failed,
    /// Its owner stopped it.
    #[serde(rename = "job.cancelled")]
    Cancelled,
    /// One of its files is in all of its stores.
    #[serde(rename = "file.stored")]
    FileStored,
    /// It and all that was stored of it are gone.
    #[serde(rename = "job.erased")]
    Erased,
}

impl CallbackEvent {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Failed, Self::Cancelled, Self::FileStored, Self::Erased];

    /// The end that a job in `state` has had; none while it has not ended.
    #[must_use]
    pub fn of(state: State) -> Option<Self> {
        match state {
            State::Completed => Some(Self::Completed),
            State::Failed => Some(Self::Failed),
            State::Cancelled => Some(Self::Cancelled),
            State::Pending | State::Processing => None,
        }
    }

    /// Its word in claims and bodies.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Completed => "job.completed",
            Self::Failed => "job.failed",
            Self::Cancelled => "job.cancelled",
            Self::FileStored => "file.stored",
            Self::Erased => "job.erased",
        }
    }
}

/// Those that a job's callback tells of, none twice. By default the two classic ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallbackEvents(Vec<CallbackEvent>);

impl CallbackEvents {
    /// These.
    #[must_use]
    pub fn new(events: &[CallbackEvent]) -> Self {
        Self(CallbackEvent::ALL.into_iter().filter(|event| events.contains(event)).collect())
    }

    /// Whether `event` is one of them.
    #[must_use]
    pub fn contain(&self, event: CallbackEvent) -> bool {
        self.0.contains(&event)
    }

    /// Whether they are those of a job that names none.
    #[must_use]
    pub fn are_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for CallbackEvents {
    fn default() -> Self {
        Self::new(&[CallbackEvent::Completed, CallbackEvent::Failed])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_is_written_and_read() {
        for event in CallbackEvent::ALL {
            assert_eq!(serde_json::to_value(event).expect("JSON"), event.word());
        }
        let named: CallbackEvents = serde_json::from_str(r#"["job.cancelled"]"#).expect("events");
        assert!(named.contain(CallbackEvent::Cancelled) && !named.contain(CallbackEvent::Completed));
        assert!(!named.are_default() && CallbackEvents::default().are_default());
    }
}
