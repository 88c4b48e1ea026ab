//! What has become of a job's callback, as its status and its record tell.

use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, Refusal};
use crate::clock::Timestamp;
use crate::job::DeliveryId;
use crate::queue::{DeliveryState, Job};

/// The callback that tells how a job ended. No address: whoever knows a job's id may ask for its status.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallbackFate {
    #[schema(value_type = FateWord)]
    state: &'static str,
    /// Tries made.
    attempts: u32,
    /// When it is tried next, while it is owed.
    #[schema(required, format = "date-time")]
    next_attempt_at: Option<String>,
    /// What the receiver answered to the last try.
    #[schema(required)]
    last_status: Option<u16>,
    /// Why the last try failed.
    #[schema(required)]
    error: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "each is written as a word; here is which there are")]
enum FateWord {
    None,
    Pending,
    Delivered,
    GivenUp,
}

/// Of a job that names no callback, or has ended in a way that it doesn't ask to be told of.
const NONE: CallbackFate =
    CallbackFate { state: "none", attempts: 0, next_attempt_at: None, last_status: None, error: None };

impl CallbackFate {
    /// That of `job`.
    pub(super) async fn of(state: &AppState, job: &Job) -> Result<Self, Refusal> {
        let Some(target) = &job.record.callback else { return Ok(NONE) };
        let Some(id) = DeliveryId::of_end(job.record.id, job.state) else {
            return Ok(Self { state: DeliveryState::Pending.as_str(), ..NONE });
        };
        if target.event(job.state).is_none() {
            return Ok(NONE);
        }
        let deliveries = state.deliveries.deliveries_of(&job.record.id).await?;
        let Some(delivery) = deliveries.into_iter().find(|delivery| delivery.id == id) else { return Ok(NONE) };
        let (last_status, error) = delivery.last.map(|last| (last.status, last.error)).unwrap_or_default();
        Ok(Self {
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at.map(Timestamp::rfc3339),
            last_status,
            error,
        })
    }
}
