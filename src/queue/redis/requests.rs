//! Requests that may be repeated.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::fields::{DIGEST_BYTES, packed, unpacked_answer};
use super::scripts::{BEGIN_REQUEST, END_REQUEST, EXTEND_REQUEST, KEEP_ANSWER};
use super::{RedisQueue, random, unreadable};
use crate::job::{IdempotencyKey, JobId, KeptAnswer};
use crate::queue::{BegunRequest, IdempotentRequests, QueueError, RequestFate, RequestLease};

/// What stands for a request in keys.
pub(super) fn request_key(key: &IdempotencyKey) -> String {
    hex::encode(&key.as_bytes()[..DIGEST_BYTES])
}

/// What a script says that a request is answered with.
pub(super) fn answer_of(value: Option<&Value>) -> Result<KeptAnswer, QueueError> {
    let bytes: Vec<u8> = redis::from_redis_value_ref(value.unwrap_or(&Value::Nil))
        .map_err(|error| unreadable("reading an answer to a request", error))?;
    unpacked_answer(&bytes)
}

#[async_trait]
impl IdempotentRequests for RedisQueue {
    async fn begin_request(&self, key: IdempotencyKey, lease: Duration) -> Result<BegunRequest, QueueError> {
        self.usable()?;
        let token = random()?;
        let args = [request_key(&key), token.to_string(), lease.as_millis().to_string()];
        let answer: Vec<Value> = self.scripts.run(&BEGIN_REQUEST, &args).await?;
        let text = |at: usize| -> Result<String, QueueError> {
            let value = answer.get(at).unwrap_or(&Value::Nil);
            redis::from_redis_value_ref(value).map_err(|error| unreadable("reading Redis' answer", error))
        };
        Ok(match text(0)?.as_str() {
            "answered" => BegunRequest::Answered(answer_of(answer.get(1))?),
            "in flight" => BegunRequest::InFlight,
            _ => BegunRequest::Begun { lease: RequestLease { key, token }, earlier: text(1)?.parse().ok() },
        })
    }

    async fn extend_request(&self, lease: &RequestLease, by: Duration, job: Option<JobId>) -> Result<bool, QueueError> {
        self.usable()?;
        let args = [
            request_key(&lease.key),
            lease.token.to_string(),
            by.as_millis().to_string(),
            job.map(|job| job.to_string()).unwrap_or_default(),
            IdempotencyKey::KEPT_FOR.as_millis().to_string(),
        ];
        let held: u64 = self.scripts.run(&EXTEND_REQUEST, &args).await?;
        Ok(held > 0)
    }

    async fn keep_answer(&self, lease: &RequestLease, answer: KeptAnswer) -> Result<(), QueueError> {
        self.usable()?;
        let args: [Vec<u8>; 4] = [
            request_key(&lease.key).into(),
            lease.token.to_string().into(),
            packed(&answer)?,
            IdempotencyKey::KEPT_FOR.as_millis().to_string().into(),
        ];
        let _: u64 = self.scripts.run(&KEEP_ANSWER, &args).await?;
        Ok(())
    }

    async fn end_request(&self, lease: &RequestLease, fate: RequestFate) -> Result<(), QueueError> {
        self.usable()?;
        let is_remembered = if fate == RequestFate::Unknown { "1" } else { "" };
        let args = [request_key(&lease.key), lease.token.to_string(), is_remembered.to_owned()];
        let _: u64 = self.scripts.run(&END_REQUEST, &args).await?;
        Ok(())
    }
}
