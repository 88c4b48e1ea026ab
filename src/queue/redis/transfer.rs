//! Moving all of it out, and in.

use std::time::Duration;

use async_trait::async_trait;
use redis::cmd;
use tokio::time::sleep;

use super::RedisQueue;
use super::change::{Decision, DeliveryChange, With, delivery_args};
use super::fields::{self, FieldChanges, Fields, constants, packed, unpacked_answer};
use super::requests::request_key;
use super::scripts::{EXPORT, EXPORT_TOKENS, IMPORT, IMPORT_TOKENS, KEPT_ANSWER, RESERVE};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::job::{ContentHash, DeliveryId, OnceToken, State};
use crate::queue::record::{StoredAnswer, readable_delivery};
use crate::queue::rules;
use crate::queue::transfer::TRANSFERRED_AT_ONCE;
use crate::queue::{
    Filter, Job, JobRecords, PAGE_MAX, PageRequest, QueueError, QueueTransfer, TransferCursor, TransferEntry,
    TransferPage, TransferredJob,
};

/// For Redis to have on its disk what it has: it writes each second.
const PERSIST_TIMEOUT: Duration = Duration::from_secs(10);

impl RedisQueue {
    /// Whether what is in Redis is for the migration of this name: it has been, or nobody has used it; then it is from now on.
    ///
    /// # Errors
    /// Redis'.
    pub async fn reserve_for(&self, migration: &str) -> Result<bool, QueueError> {
        self.usable()?;
        Ok(self.scripts.run(&RESERVE, &[migration, "1"]).await?)
    }

    /// The same, and nothing is changed.
    ///
    /// # Errors
    /// Redis'.
    pub async fn is_free_for(&self, migration: &str) -> Result<bool, QueueError> {
        self.usable()?;
        Ok(self.scripts.run(&RESERVE, &[migration, ""]).await?)
    }

    /// From now on it is anybody's.
    ///
    /// # Errors
    /// Redis'.
    pub async fn end_reservation(&self) -> Result<(), QueueError> {
        let command = redis::Cmd::hdel(self.scripts.key("meta"), "migration");
        let _: u64 = self.scripts.client.query("ending a migration", &command).await?;
        Ok(())
    }

    async fn export_jobs(&self, after: Option<u64>) -> Result<TransferPage, QueueError> {
        let from = after.map_or_else(|| "-inf".to_owned(), |place| format!("({place}"));
        let answer: Vec<(u64, Fields, Fields)> =
            self.scripts.run(&EXPORT, &[from, TRANSFERRED_AT_ONCE.to_string()]).await?;
        let has_more = answer.len() == TRANSFERRED_AT_ONCE;
        let last = answer.last().map(|(place, ..)| *place);
        let mut page = TransferPage::default();
        for (_, found, callbacks) in answer {
            match fields::job(&found) {
                Ok(Some(stored)) => {
                    let readable = |(name, record): (String, Vec<u8>)| {
                        let id = DeliveryId::parse(&name)?;
                        Some((id, readable_delivery(&id, &record)?))
                    };
                    let deliveries = callbacks.into_iter().filter_map(readable).collect();
                    let answer = self.answer_for(&stored.job).await?;
                    page.entries.push(TransferEntry::Job(Box::new(TransferredJob::new(stored, deliveries, answer)?)));
                }
                // It is only listed.
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = %ErrorChain(&error), "unreadable job record; not moved");
                    page.unreadable += 1;
                }
            }
        }
        page.next = Some(last.filter(|_| has_more).map_or(TransferCursor::Token(None), TransferCursor::Job));
        Ok(page)
    }

    /// What the request that became this job is answered with.
    async fn answer_for(&self, job: &Job) -> Result<Option<StoredAnswer>, QueueError> {
        let Some(request) = &job.record.idempotency else { return Ok(None) };
        let kept: Option<(Vec<u8>, String, u64)> = self.scripts.run(&KEPT_ANSWER, &[request_key(&request.key)]).await?;
        let Some((answer, job, until)) = kept else { return Ok(None) };
        let (answer, until) = (unpacked_answer(&answer)?, Timestamp::from_millis(until));
        Ok(Some(StoredAnswer { answer, job: job.parse().ok(), until }))
    }

    async fn export_tokens(&self, last: Option<OnceToken>) -> Result<TransferPage, QueueError> {
        let from = last.map(|token| token.digest.to_string()).unwrap_or_default();
        let answer: Vec<(String, u64, String)> =
            self.scripts.run(&EXPORT_TOKENS, &[from, TRANSFERRED_AT_ONCE.to_string()]).await?;
        let has_more = answer.len() == TRANSFERRED_AT_ONCE;
        let mut page = TransferPage::default();
        let mut last = None;
        for (digest, good_until, job) in answer {
            let Some(digest) = ContentHash::from_hex(&digest) else { continue };
            let token = OnceToken { digest, good_until: Timestamp::from_millis(good_until) };
            last = Some(token);
            if let Ok(job) = job.parse() {
                page.entries.push(TransferEntry::UsedToken { token, job });
            }
        }
        page.next = last.filter(|_| has_more).map(|token| TransferCursor::Token(Some(token)));
        Ok(page)
    }

    async fn import_job(&self, transferred: &TransferredJob) -> Result<(), QueueError> {
        let TransferredJob { stored, deliveries, answer } = transferred;
        let job = &stored.job;
        let (place, due) = match (job.state.is_terminal(), job.not_before) {
            (true, _) => ("e", String::new()),
            (false, None) => ("r", String::new()),
            (false, Some(due)) => ("d", due.as_millis().to_string()),
        };
        let FieldChanges { set, .. } = FieldChanges::between(&Fields::new(), stored)?;
        let head = [
            job.record.id.to_string(),
            constants(&job.record),
            job.seq.to_string(),
            job.changes.to_string(),
            place.to_owned(),
            due,
        ];
        let fields = set.len().to_string();
        let mut args: Vec<Vec<u8>> = head.map(String::into_bytes).into();
        match job.record.idempotency.as_ref().zip(answer.as_ref()) {
            Some((request, StoredAnswer { answer, until, .. })) => {
                args.extend([request_key(&request.key).into(), packed(answer)?, until.as_millis().to_string().into()]);
            }
            None => args.extend([Vec::new(), Vec::new(), Vec::new()]),
        }
        args.push(fields.into());
        for (field, value) in set {
            args.extend([field.into(), value]);
        }
        for (id, delivery) in deliveries {
            args.extend(delivery_args(&DeliveryChange::put(*id, delivery.clone()))?);
        }
        let _: u64 = self.scripts.run(&IMPORT, &args).await?;
        Ok(())
    }
}

#[async_trait]
impl QueueTransfer for RedisQueue {
    async fn void_leases(&self) -> Result<(), QueueError> {
        let filter = Filter::in_state(State::Processing);
        let mut cursor = None;
        loop {
            let page = self.list(&filter, PageRequest { limit: PAGE_MAX, cursor }).await?;
            for Job { record, .. } in page.jobs {
                let voided = self.change(&record.id, With::Callbacks, |found| {
                    if found.stored.job.state != State::Processing {
                        return Ok(Decision::Leave(()));
                    }
                    // What happened in it, its node alone has counted.
                    found.stored.job.changes += rules::CHANGES_OF_A_LOST_ATTEMPT;
                    let next = rules::reap(&mut found.stored, Vec::new(), true, &self.settings);
                    let (change, _) = self.go_on(found, next)?;
                    Ok(Decision::Apply(change, ()))
                });
                voided.await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn export(&self, from: Option<TransferCursor>) -> Result<TransferPage, QueueError> {
        self.usable()?;
        match from {
            None => self.export_jobs(None).await,
            Some(TransferCursor::Job(place)) => self.export_jobs(Some(place)).await,
            Some(TransferCursor::Token(last)) => self.export_tokens(last).await,
        }
    }

    async fn import(&self, entries: Vec<TransferEntry>) -> Result<(), QueueError> {
        self.usable()?;
        let mut tokens = Vec::new();
        for entry in &entries {
            match entry {
                TransferEntry::Job(job) => self.import_job(job).await?,
                TransferEntry::UsedToken { token: OnceToken { digest, good_until }, job } => {
                    tokens.extend([digest.to_string(), good_until.as_millis().to_string(), job.to_string()]);
                }
            }
        }
        if !tokens.is_empty() {
            let _: u64 = self.scripts.run(&IMPORT_TOKENS, &tokens).await?;
        }
        Ok(())
    }

    /// Of a Redis that keeps no append-only file nothing can be waited for, and one before 7.2 doesn't say.
    async fn persist(&self) -> Result<(), QueueError> {
        let mut connection = self.scripts.client.blocking_connection(PERSIST_TIMEOUT).await?;
        let mut wait = cmd("WAITAOF");
        wait.arg(1).arg(0).arg(PERSIST_TIMEOUT.as_millis().to_string());
        // It waits for what this very connection has written, and for all before it.
        let write = redis::Cmd::hincr(self.scripts.key("meta"), "place", 0);
        let _: u64 = self.scripts.client.query_on("writing last", &mut connection, &write, Duration::ZERO).await?;
        match self
            .scripts
            .client
            .query_on::<(u64, u64)>("waiting for its disk", &mut connection, &wait, PERSIST_TIMEOUT)
            .await
        {
            Ok((0, _)) => {
                let what = format!("Redis has not written to its disk within {} s", PERSIST_TIMEOUT.as_secs());
                Err(QueueError::Unavailable { what, source: None })
            }
            Ok(_) => Ok(()),
            Err(error) if error.is_unknown() => Err(error.into()),
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "Redis doesn't say what it has on its disk; waiting a while");
                sleep(Duration::from_secs(3)).await;
                Ok(())
            }
        }
    }
}
