//! What a receiver knows a call by.

use std::fmt;

use super::{CallbackEvent, JobId, State};

/// Which call about which job: the `webhook-id` of all its tries. Sorts by job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// What it is about.
    pub job: JobId,
    /// What it tells.
    pub subject: DeliverySubject,
}

/// What of a job a call tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliverySubject {
    /// That it completed or failed. Classic receivers know this end by the job's id alone.
    End,
    /// That its owner stopped it.
    Cancelled,
    /// That this one of its expected files, from 0, is in all of its stores.
    File(u16),
    /// That it is erased. By then the queue knows nothing of it: what is told is in the ledger.
    Erased,
}

/// In `webhook-id` behind the job's id. Never with a full stop, which parts the id from what else is signed.
const CANCELLED: &str = "cancelled";
const FILE: &str = "file_";
const ERASED: &str = "erased";

impl DeliveryId {
    /// The call that tells how a job ended; none while it has not.
    #[must_use]
    pub fn of_end(job: JobId, state: State) -> Option<Self> {
        let subject = match state {
            State::Completed | State::Failed => DeliverySubject::End,
            State::Cancelled => DeliverySubject::Cancelled,
            State::Pending | State::Processing => return None,
        };
        Some(Self { job, subject })
    }

    /// The call that tells of a file.
    #[must_use]
    pub fn of_file(job: JobId, index: u16) -> Self {
        Self { job, subject: DeliverySubject::File(index) }
    }

    /// The call that tells that a job is erased.
    #[must_use]
    pub fn of_erasure(job: JobId) -> Self {
        Self { job, subject: DeliverySubject::Erased }
    }

    /// Whether it tells of a file.
    #[must_use]
    pub fn is_of_file(&self) -> bool {
        matches!(self.subject, DeliverySubject::File(_))
    }

    /// The id that `text` is: what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (job, rest) = text.split_once('_').map_or((text, None), |(job, rest)| (job, Some(rest)));
        let subject = match rest {
            None => DeliverySubject::End,
            Some(CANCELLED) => DeliverySubject::Cancelled,
            Some(ERASED) => DeliverySubject::Erased,
            Some(rest) => DeliverySubject::File(rest.strip_prefix(FILE)?.parse().ok()?),
        };
        let id = Self { job: job.parse().ok()?, subject };
        // Other spellings of a UUID or a number are no ids.
        (id.to_string() == text).then_some(id)
    }

    /// What it tells of a job in `state`; none if such a job has nothing of the kind to tell.
    #[must_use]
    pub fn event(&self, state: State) -> Option<CallbackEvent> {
        match self.subject {
            DeliverySubject::File(_) => Some(CallbackEvent::FileStored),
            // None that the queue knows is erased.
            DeliverySubject::Erased => None,
            DeliverySubject::End | DeliverySubject::Cancelled => {
                CallbackEvent::of(state).filter(|_| Self::of_end(self.job, state) == Some(*self))
            }
        }
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            DeliverySubject::End => write!(f, "{}", self.job),
            DeliverySubject::Cancelled => write!(f, "{}_{CANCELLED}", self.job),
            DeliverySubject::File(index) => write!(f, "{}_{FILE}{index}", self.job),
            DeliverySubject::Erased => write!(f, "{}_{ERASED}", self.job),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn an_id_is_read_as_it_is_written_and_in_no_other_spelling() {
        let job = JobId::new(Timestamp::from_millis(1));
        let subjects =
            [DeliverySubject::End, DeliverySubject::Cancelled, DeliverySubject::File(17), DeliverySubject::Erased];
        for subject in subjects {
            let id = DeliveryId { job, subject };
            assert_eq!(DeliveryId::parse(&id.to_string()), Some(id));
            assert!(!id.to_string().contains('.'));
        }
        let upper = job.to_string().to_uppercase();
        for text in ["", "_", &upper, &format!("{job}_"), &format!("{job}_file_"), &format!("{job}_file_017")] {
            assert_eq!(DeliveryId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_end_is_told_under_the_id_of_its_kind_alone() {
        let job = JobId::new(Timestamp::from_millis(1));
        let [end, cancelled] =
            [DeliverySubject::End, DeliverySubject::Cancelled].map(|subject| DeliveryId { job, subject });
        assert_eq!(end.event(State::Failed), Some(CallbackEvent::Failed));
        assert_eq!((end.event(State::Cancelled), end.event(State::Processing)), (None, None));
        assert_eq!(cancelled.event(State::Cancelled), Some(CallbackEvent::Cancelled));
        assert_eq!(DeliveryId::of_file(job, 0).event(State::Processing), Some(CallbackEvent::FileStored));
    }
}
