//! What is counted of callbacks.

use std::sync::Arc;

use super::delivery::DeliveryError;
use crate::metrics::{CounterBy, Registry, begin_at_zero};

/// Counts of tries to deliver. Clones are one.
#[derive(Clone, Debug)]
pub struct CallbackMetrics(Arc<CounterBy<1>>);

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptResult {
    Delivered,
    /// The receiver answered with something else than 2xx.
    Refused,
    Timeout,
    /// The address may not be called.
    Forbidden,
    /// 410.
    Gone,
    /// It came to no answer.
    Failed,
    /// It failed, and there will be no other.
    GivenUp,
}

impl AttemptResult {
    const ALL: [Self; 7] =
        [Self::Delivered, Self::Refused, Self::Timeout, Self::Forbidden, Self::Gone, Self::Failed, Self::GivenUp];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }

    pub(super) fn of(error: &DeliveryError) -> Self {
        match error {
            DeliveryError::Refused { .. } => Self::Refused,
            DeliveryError::Timeout(_) => Self::Timeout,
            DeliveryError::ForbiddenLiteral(_) | DeliveryError::ForbiddenHost(_) => Self::Forbidden,
            DeliveryError::Gone => Self::Gone,
            DeliveryError::NoTarget
            | DeliveryError::Payload(_)
            | DeliveryError::Sealed(_)
            | DeliveryError::Header(_)
            | DeliveryError::Post(_)
            | DeliveryError::NoCertificates => Self::Failed,
        }
    }
}

impl Default for CallbackMetrics {
    fn default() -> Self {
        let attempts = CounterBy::default();
        begin_at_zero(&attempts, AttemptResult::ALL.map(|result| [("result", result.word())]));
        Self(Arc::new(attempts))
    }
}

impl CallbackMetrics {
    /// Under their name.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Tries to deliver callbacks; the last of one that is given up counts as that";
        registry.register("pixerve_callback_attempts", help, (*self.0).clone());
    }

    pub(super) fn attempted(&self, result: AttemptResult) {
        self.0.get_or_create(&[("result", result.word())]).inc();
    }
}
