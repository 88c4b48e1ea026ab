//! Which jobs a request is about, by the lists of the queue and by what has to be looked for in each.

use futures_util::future::try_join_all;

use super::{AppState, Refusal};
use crate::job::State;
use crate::queue::{Cursor, Filter, Job, Page, PageRequest, WaitReason};

/// Jobs that are looked at for one page, where no list has those that are asked for alone.
const LOOKED_AT_MOST: usize = 1_000;
/// Jobs that are looked at in one go.
const AT_ONCE: usize = 200;

/// Which jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// What the queue has lists for.
    pub(super) filter: Filter,
    /// What it hasn't.
    pub(super) conditions: Conditions,
}

/// What has to be looked for in each job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// Its error, or that of its last attempt, is one of these; none: any, or none.
    pub(super) error_codes: Vec<String>,
    /// One of its stores is registered under this access key.
    pub(super) store: Option<String>,
    /// What it waits for.
    pub(super) waiting_for: Option<WaitReason>,
}

impl Conditions {
    /// The states that a job which meets them may be in; none: any.
    fn states(&self) -> Option<&'static [State]> {
        match (self.waiting_for, &*self.error_codes) {
            (Some(WaitReason::Store), _) => Some(&[State::Pending, State::Processing]),
            (Some(WaitReason::Memory | WaitReason::Turn), _) => Some(&[State::Pending]),
            (None, []) => None,
            // Whatever was wrong with an attempt, a job that completed says nothing of it. It is most of what there is.
            (None, _) => Some(&[State::Pending, State::Processing, State::Failed, State::Cancelled]),
        }
    }

    fn hold(&self, job: &Job) -> bool {
        let is_code = |code: &str| self.error_codes.iter().any(|wanted| wanted == code);
        let is_store = |store: &String| job.record.spec.storage.iter().any(|key| key.access_key == *store);
        (self.error_codes.is_empty() || job.error.as_ref().is_some_and(|error| is_code(&error.code)))
            && self.store.as_ref().is_none_or(is_store)
    }
}

impl Selection {
    /// A part of the selected jobs, newest first. With conditions it may be short, or empty, before the last.
    pub(super) async fn page(&self, state: &AppState, request: PageRequest) -> Result<Page, Refusal> {
        if self.conditions == Conditions::default() {
            return Ok(state.records.list(&self.filter, request).await?);
        }
        let limit = request.limit.clamp(1, AT_ONCE);
        let (mut found, mut cursor, mut looked_at) = (Vec::new(), request.cursor, 0);
        loop {
            let Page { jobs, next } = self.candidates(state, PageRequest { limit: AT_ONCE, cursor }).await?;
            looked_at += jobs.len().max(1);
            for job in self.that_meet_conditions(state, jobs).await? {
                if found.len() == limit {
                    let next = found.last().map(|last: &Job| Cursor::behind(last.seq));
                    return Ok(Page { jobs: found, next });
                }
                found.push(job);
            }
            if next.is_none() || found.len() == limit || looked_at >= LOOKED_AT_MOST {
                return Ok(Page { jobs: found, next });
            }
            cursor = next;
        }
    }

    /// A part of the lists that have all who may meet the conditions, newest first, as if they were one.
    async fn candidates(&self, state: &AppState, request: PageRequest) -> Result<Page, Refusal> {
        let states: Vec<Option<State>> = match (self.filter.state, self.conditions.states()) {
            (None, Some(states)) => states.iter().copied().map(Some).collect(),
            (Some(of), Some(states)) if !states.contains(&of) => return Ok(Page::default()),
            (of, _) => vec![of],
        };
        let list = async |of: Option<State>| {
            let filter = Filter { state: of, ..self.filter.clone() };
            state.records.list(&filter, request.clone()).await
        };
        let pages = try_join_all(states.into_iter().map(list)).await?;
        // How far back all of them have been read.
        let mut read_to = None;
        for next in pages.iter().filter_map(|page| page.next.as_ref()) {
            read_to = read_to.max(Some(next.place()?));
        }
        let mut jobs: Vec<Job> = pages.into_iter().flat_map(|page| page.jobs).collect();
        jobs.retain(|job| read_to.is_none_or(|read_to| job.seq >= read_to));
        jobs.sort_by_key(|job| std::cmp::Reverse(job.seq));
        // One may have moved from list to list meanwhile.
        jobs.dedup_by_key(|job| job.record.id);
        Ok(Page { jobs, next: read_to.map(Cursor::behind) })
    }

    async fn that_meet_conditions(&self, state: &AppState, mut jobs: Vec<Job>) -> Result<Vec<Job>, Refusal> {
        jobs.retain(|job| self.conditions.hold(job));
        let Some(reason) = self.conditions.waiting_for else { return Ok(jobs) };
        let ids: Vec<_> = jobs.iter().map(|job| job.record.id).collect();
        let reasons = state.records.waiting_for(&ids).await?;
        let waiting = jobs.into_iter().zip(reasons).filter(|(_, found)| *found == Some(reason));
        Ok(waiting.map(|(job, _)| job).collect())
    }
}

/// A state by its word.
pub(super) fn state_of(word: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| state.as_str() == word)
}
