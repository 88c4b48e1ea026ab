//! What every ledger does, whatever it is kept in; each fact with one of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pixerve::clock::Timestamp;
use pixerve::job::{CallbackEvent, CallbackEvents, CallbackTarget, HashKey, JobId, JobRef, Owner, SealedText};
use pixerve::ledger::{
    BucketLedger, DueEvents, DueJob, ErasedEvent, ErasedEvents, Erasure, ErasureId, ErasureOutcome, ErasureRecipient,
    ErasureState, ErasureTally, ErasureTarget, Erasures, GcRequest, GcRun, GcRuns, GcState, KeptPlace, Ledger,
    LedgerEntry, LedgerPageRequest, LeftPlace, NewErasure, OrderedErasure, OwedEvents, SqliteLedger,
};

use super::{at, entry, job, owner, place};
use crate::bucket;
use crate::harness::stores::{self, S3Server};

/// Everything that a ledger is.
trait Both: Ledger + Erasures + ErasedEvents + GcRuns {}
impl<L: Ledger + Erasures + ErasedEvents + GcRuns> Both for L {}

/// Opens the same ledger as often as it is asked to.
trait Subject {
    fn ledger(&self) -> Arc<dyn Both>;
}

struct Sqlite(Arc<SqliteLedger>, #[expect(dead_code, reason = "its files go with it")] tempfile::TempDir);

impl Sqlite {
    #[expect(clippy::unused_async, reason = "the suite starts every ledger alike")]
    async fn start() -> Self {
        let data = tempfile::tempdir().expect("temporary directory");
        Self(Arc::new(SqliteLedger::open(data.path()).expect("opens").ledger), data)
    }
}

impl Subject for Sqlite {
    fn ledger(&self) -> Arc<dyn Both> {
        Arc::clone(&self.0) as Arc<dyn Both>
    }
}

struct InBucket(S3Server);

impl InBucket {
    async fn start() -> Self {
        let server = stores::s3().await;
        server.create_bucket("pixerve");
        Self(server)
    }
}

impl Subject for InBucket {
    fn ledger(&self) -> Arc<dyn Both> {
        Arc::new(BucketLedger::new(Arc::new(bucket::bucket_of(&self.0, "pixerve"))))
    }
}

fn ids(entries: &[LedgerEntry]) -> BTreeSet<JobId> {
    entries.iter().map(|entry| entry.job_id).collect()
}

fn jobs(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<JobId> {
    numbers.into_iter().map(job).collect()
}

async fn what_is_recorded_is_found_by_job_hash_and_subject(subject: &impl Subject) {
    let ledger = subject.ledger();
    let entries = [
        entry(1, owner("a"), b"one"),
        entry(2, owner("a"), b"one"),
        entry(3, owner("a"), b"two"),
        entry(4, owner("b"), b"one"),
    ];
    for entry in &entries {
        ledger.record(entry).await.expect("recorded");
    }
    let ledger = subject.ledger();
    for entry in &entries {
        assert_eq!(ledger.entry(&entry.job_id).await.expect("read").as_ref(), Some(entry));
    }
    assert_eq!(ledger.entry(&job(9)).await.expect("read"), None);
    let of_hash = ledger.of_hash(&entries[0].hash()).await.expect("read");
    assert_eq!(ids(&of_hash), jobs([1, 2]));
    let unknown = HashKey::new(&entries[2].content, &owner("b"));
    assert_eq!(ledger.of_hash(&unknown).await.expect("read"), []);
    let of_subject = ledger.of_subject(None, "a", &LedgerPageRequest::first(10)).await.expect("read");
    assert!(ids(&of_subject.entries) == jobs([1, 2, 3]) && of_subject.next.is_none(), "{of_subject:?}");
    for (user, sub) in [(Some("a"), "a"), (None, "A"), (None, ""), (None, "a/b")] {
        let none = ledger.of_subject(user, sub, &LedgerPageRequest::first(10)).await.expect("read");
        assert_eq!(none.entries, [], "{user:?} {sub}");
    }
}

async fn many_are_recorded_at_once_as_each_would_be(subject: &impl Subject) {
    let ledger = subject.ledger();
    ledger.record_all(&[]).await.expect("nothing is recorded");
    let mut entries: Vec<_> = (1..=20).map(|number| entry(number, owner("a"), &[number])).collect();
    ledger.record(&entries[0]).await.expect("recorded");
    for _ in 0..2 {
        ledger.record_all(&entries).await.expect("recorded");
    }
    entries[1].files.truncate(1);
    entries[2].expires_at = Some(at(9000));
    ledger.record_all(&entries[1..3]).await.expect("recorded anew");
    let ledger = subject.ledger();
    for entry in &entries {
        assert_eq!(ledger.entry(&entry.job_id).await.expect("read").as_ref(), Some(entry));
    }
    assert_eq!(ledger.all(&LedgerPageRequest::first(100)).await.expect("read").entries.len(), 20);
    assert_eq!(ledger.files_in("pxs_1").await.expect("counted"), 19);
    assert_eq!(ledger.due(at(9000), 10).await.expect("read").len(), 1);
}

async fn many_hashes_are_looked_up_at_once_and_an_owner_by_its_part_of_them(subject: &impl Subject) {
    let ledger = subject.ledger();
    assert_eq!(ledger.of_hashes(&[]).await.expect("read"), []);
    let shop = Owner { user: Some("shop".to_owned()), access_key: Some("pxu_1".to_owned()), sub: "a".to_owned() };
    let entries = [
        entry(1, owner("a"), b"one"),
        entry(2, owner("a"), b"one"),
        entry(3, owner("a"), b"two"),
        entry(4, shop.clone(), b"one"),
    ];
    for entry in &entries {
        ledger.record(entry).await.expect("recorded");
    }
    let unknown = HashKey::new(&entries[2].content, &shop);
    let hashes = [entries[0].hash(), unknown, entries[3].hash()];
    assert_eq!(ids(&ledger.of_hashes(&hashes).await.expect("read")), jobs([1, 2, 4]));
    let owner_of = async |part: &str| ledger.owner_of(part).await.expect("read");
    assert_eq!(owner_of("a").await, Some(owner("a")));
    assert_eq!(owner_of(&shop.hash_part()).await, Some(Owner { access_key: None, ..shop.clone() }));
    assert_eq!(owner_of("b").await, None);
    ledger.remove(&[job(4)]).await.expect("removed");
    assert_eq!(owner_of(&shop.hash_part()).await, None);
}

async fn of_comparisons_one_is_begun_and_it_is_known_what_became_of_it(subject: &impl Subject) {
    let request = GcRequest { adopt: true, delete: false, older_than: GcRequest::OLDER_THAN_MIN };
    let (mut first, second) = (GcRun::begin(request, at(1000)), GcRun::begin(request, at(2000)));
    let ledger = subject.ledger();
    assert_eq!(ledger.begin_gc(&first).await.expect("asked"), None);
    let other = subject.ledger();
    assert_eq!(other.begin_gc(&second).await.expect("asked"), Some(first.id));
    assert_eq!(other.gc_run(&second.id).await.expect("read"), None);
    first.report.known.add(7);
    ledger.note_gc(&first).await.expect("noted");
    assert_eq!(other.gc_run(&first.id).await.expect("read").as_ref(), Some(&first));
    first.state = GcState::Done;
    first.ended_at = Some(at(3000));
    ledger.note_gc(&first).await.expect("noted");
    assert_eq!(other.gc_run(&first.id).await.expect("read").as_ref(), Some(&first));
    assert_eq!(other.begin_gc(&second).await.expect("asked"), None);
    assert_eq!(ledger.gc_run(&second.id).await.expect("read"), Some(second));
}

async fn a_name_that_was_registered_again_shares_hashes_and_not_owners(subject: &impl Subject) {
    let ledger = subject.ledger();
    let [old, new] = ["pxu_1", "pxu_2"].map(|key| Owner {
        user: Some("shop".to_owned()),
        access_key: Some(key.to_owned()),
        sub: "a".to_owned(),
    });
    let entries = [entry(1, old.clone(), b"one"), entry(2, new.clone(), b"one")];
    for entry in &entries {
        ledger.record(entry).await.expect("recorded");
    }
    assert_eq!(ids(&ledger.of_hash(&entries[0].hash()).await.expect("read")), jobs([1, 2]));
    let both = ledger.of_subject(Some("shop"), "a", &LedgerPageRequest::first(10)).await.expect("read");
    let owners: BTreeSet<_> = both.entries.iter().map(|entry| entry.owner.access_key.clone()).collect();
    assert_eq!(owners, BTreeSet::from([old.access_key, new.access_key]));
}

async fn recorded_again_it_is_what_was_said_last(subject: &impl Subject) {
    let ledger = subject.ledger();
    let mut entry = entry(1, owner("a"), b"one");
    ledger.record(&entry).await.expect("recorded");
    ledger.record(&entry).await.expect("recorded");
    assert_eq!(ledger.files_in("pxs_1").await.expect("counted"), 1);
    entry.files.remove(0);
    entry.files[0].places.push(place("gcs", Some("pxs_2"), "gs://other/whole-other-name"));
    entry.ended_at = at(9000);
    ledger.record(&entry).await.expect("recorded");
    assert_eq!(ledger.entry(&job(1)).await.expect("read").as_ref(), Some(&entry));
    let all = ledger.all(&LedgerPageRequest::first(10)).await.expect("read");
    assert!(all.entries.len() == 1 && all.next.is_none(), "{all:?}");
    for (access_key, files) in [("pxs_1", 1), ("pxs_2", 1), ("pxs_3", 0), ("pxs", 0)] {
        assert_eq!(ledger.files_in(access_key).await.expect("counted"), files, "{access_key}");
    }
    entry.files[0].places.retain(|place| place.backend == "gcs");
    ledger.record(&entry).await.expect("recorded");
    assert_eq!(ledger.files_in("pxs_1").await.expect("counted"), 0);
    assert_eq!(ledger.files_in("pxs_2").await.expect("counted"), 1);
}

async fn a_store_holds_what_is_recorded_and_not_removed(subject: &impl Subject) {
    let ledger = subject.ledger();
    for number in 1..=5 {
        ledger.record(&entry(number, owner("a"), &[number])).await.expect("recorded");
    }
    assert_eq!(ledger.files_in("pxs_1").await.expect("counted"), 5);
    ledger.remove(&[job(2), job(4), job(77)]).await.expect("removed");
    assert_eq!(ledger.files_in("pxs_1").await.expect("counted"), 3);
    ledger.remove(&[job(2)]).await.expect("it is gone already");
    assert_eq!(ledger.files_in("pxs_1").await.expect("counted"), 3);
    assert_eq!(ledger.entry(&job(2)).await.expect("read"), None);
    let left = ledger.all(&LedgerPageRequest::first(10)).await.expect("read");
    assert_eq!(ids(&left.entries), jobs([1, 3, 5]));
}

async fn pages_have_every_entry_once(subject: &impl Subject) {
    let ledger = subject.ledger();
    for number in 1..=7 {
        // Two owners, and two contents of each.
        let owner = owner(if number % 3 == 0 { "b" } else { "a" });
        ledger.record(&entry(number, owner, &[number % 2])).await.expect("recorded");
    }
    for (of_a, expected) in [(false, jobs(1..=7)), (true, jobs([1, 2, 4, 5, 7]))] {
        for limit in [1, 2, 3, 7, 100] {
            let (mut found, mut page) = (Vec::new(), LedgerPageRequest::first(limit));
            loop {
                let read = if of_a { ledger.of_subject(None, "a", &page).await } else { ledger.all(&page).await }
                    .expect("read");
                assert!(read.entries.len() <= limit);
                found.extend(read.entries.iter().map(|entry| entry.job_id));
                page.after = read.next;
                if page.after.is_none() {
                    break;
                }
            }
            assert_eq!((found.len(), found.iter().copied().collect()), (expected.len(), expected.clone()), "{limit}");
        }
    }
}

async fn jobs_come_due_in_order_once_their_time_is_over(subject: &impl Subject) {
    let ledger = subject.ledger();
    let due = |number, ms| DueJob { expires_at: at(ms), job_id: job(number) };
    for (number, expires_at) in [(1, Some(300)), (2, Some(100)), (3, None), (4, Some(200)), (5, Some(1000))] {
        let entry = LedgerEntry { expires_at: expires_at.map(at), ..entry(number, owner("a"), &[number]) };
        ledger.record(&entry).await.expect("recorded");
    }
    let at_300 = [due(2, 100), due(4, 200), due(1, 300)];
    assert_eq!(ledger.due(at(300), 10).await.expect("read"), at_300);
    assert_eq!(ledger.due(at(300), 2).await.expect("read"), at_300[..2]);
    assert_eq!(ledger.due(at(99), 10).await.expect("read"), []);
    // It was written anew with another time.
    let later = LedgerEntry { expires_at: Some(at(5000)), ..entry(2, owner("a"), &[2]) };
    ledger.record(&later).await.expect("recorded");
    assert_eq!(ledger.due(at(300), 10).await.expect("read"), at_300[1..]);
    ledger.unmark_due(&[due(4, 200)]).await.expect("unmarked");
    ledger.remove(&[job(1)]).await.expect("removed");
    assert_eq!(ledger.due(at(300), 10).await.expect("read"), []);
    assert_eq!(ledger.entry(&job(4)).await.expect("read").and_then(|entry| entry.expires_at), Some(at(200)));
    assert_eq!(ledger.due(at(9000), 10).await.expect("read"), [due(5, 1000), due(2, 5000)]);
}

fn order(id: ErasureId, target: &ErasureTarget, jobs: &[u8]) -> NewErasure {
    NewErasure {
        id,
        target: Some(target.key()),
        owner: Some(owner("a").digest()),
        user: None,
        created_at: at(1000),
        jobs: jobs.iter().copied().map(job).collect(),
    }
}

fn subject_a() -> ErasureTarget {
    ErasureTarget::Subject { user: None, sub: "a".to_owned() }
}

fn erased(deleted: u64, missing: u64) -> ErasureOutcome {
    let tally = ErasureTally { deleted, missing, kept: 0 };
    ErasureOutcome::Erased { tally, is_versioned: false, kept: Vec::new(), event: None }
}

async fn pending(ledger: &dyn Both, id: &ErasureId, now: Timestamp) -> BTreeSet<JobId> {
    ledger.pending(id, now, 100).await.expect("read").into_iter().map(|pending| pending.job_id).collect()
}

async fn an_order_is_carried_out_step_by_step(subject: &impl Subject) {
    let ledger = subject.ledger();
    for number in [1, 2, 3] {
        ledger.record(&entry(number, owner("a"), &[number])).await.expect("recorded");
    }
    let id = ErasureId::new(at(1000));
    let new = order(id, &subject_a(), &[1, 2, 3]);
    for _ in 0..2 {
        assert_eq!(ledger.order(&new).await.expect("ordered"), OrderedErasure::New);
    }
    // A second call for the same thing while one runs is told of that, and another thing isn't.
    let second = order(ErasureId::new(at(1001)), &subject_a(), &[1]);
    assert_eq!(ledger.order(&second).await.expect("told"), OrderedErasure::Running(id));
    let other = order(ErasureId::new(at(1002)), &ErasureTarget::Job(job(3)), &[3]);
    assert_eq!(ledger.order(&other).await.expect("ordered"), OrderedErasure::New);
    let ledger = subject.ledger();
    assert_eq!(ledger.running().await.expect("read"), [id, other.id]);
    let begun = ledger.erasure(&id).await.expect("read").expect("there");
    let Erasure { state, jobs: all, tally, owner: of, target, created_at, .. } = &begun;
    assert_eq!((*state, *all, *tally), (ErasureState::Running, 3, ErasureTally::default()));
    assert_eq!((*of, *target, *created_at), (new.owner, new.target, at(1000)));
    assert_eq!(pending(&*ledger, &id, at(1000)).await, jobs([1, 2, 3]));
    assert_eq!(ledger.next_due(&id).await.expect("read"), Some(at(1000)));

    // Each step counts once, however often it is done.
    for _ in 0..2 {
        ledger.settle(&id, &job(1), &erased(2, 1), at(2000)).await.expect("settled");
    }
    assert_eq!(ledger.entry(&job(1)).await.expect("read"), None);
    assert_eq!(ledger.erased_at(&job(1)).await.expect("read"), Some(at(2000)));
    assert_eq!(ledger.erased_at(&job(2)).await.expect("read"), None);
    let left = vec![LeftPlace { backend: "s3".into(), location: "s3://pictures/x".into(), error: "HTTP 500".into() }];
    let outcome = ErasureOutcome::Left { left: left.clone(), retry_at: at(4000) };
    ledger.settle(&id, &job(2), &outcome, at(2000)).await.expect("settled");
    assert_eq!(pending(&*ledger, &id, at(3999)).await, jobs([3]));
    assert_eq!(pending(&*ledger, &id, at(4000)).await, jobs([2, 3]));
    let again = ledger.pending(&id, at(4000), 100).await.expect("read");
    let again = again.iter().find(|pending| pending.job_id == job(2)).expect("pending");
    assert_eq!((again.tries, &again.left), (1, &left));
    let kept = vec![KeptPlace { location: Some("/files/tour/x.webp".into()), job_id: job(9) }];
    let tally = ErasureTally { deleted: 1, missing: 0, kept: 1 };
    let outcome = ErasureOutcome::Erased { tally, is_versioned: true, kept: kept.clone(), event: None };
    ledger.settle(&id, &job(3), &outcome, at(2500)).await.expect("settled");
    assert_eq!(ledger.next_due(&id).await.expect("read"), Some(at(4000)));
    let running = ledger.erasure(&id).await.expect("read").expect("there");
    assert_eq!(running.tally, ErasureTally { deleted: 3, missing: 1, kept: 1 });
    assert_eq!((running.is_versioned, &running.kept, &running.left), (true, &kept, &left));

    ledger.settle(&id, &job(2), &erased(1, 0), at(5000)).await.expect("settled");
    assert_eq!(ledger.next_due(&id).await.expect("read"), None);
    for now in [6000, 7000] {
        assert_eq!(ledger.finish(&id, at(now)).await.expect("finished"), ErasureState::Done);
    }
    let done = subject.ledger().erasure(&id).await.expect("read").expect("there");
    assert_eq!((done.state, done.done_at, done.purged_at), (ErasureState::Done, Some(at(6000)), None));
    assert_eq!(done.tally, ErasureTally { deleted: 4, missing: 1, kept: 1 });
    assert_eq!((done.kept, done.left), (vec![KeptPlace { location: None, job_id: job(9) }], vec![]));
    assert_eq!(ledger.running().await.expect("read"), [other.id]);
    assert_eq!(ledger.all(&LedgerPageRequest::first(9)).await.expect("read").entries, []);
}

async fn what_could_not_be_erased_makes_an_order_incomplete(subject: &impl Subject) {
    let ledger = subject.ledger();
    ledger.record(&entry(1, owner("a"), b"x")).await.expect("recorded");
    let id = ErasureId::new(at(1000));
    ledger.order(&order(id, &subject_a(), &[1])).await.expect("ordered");
    let left = vec![LeftPlace { backend: "s3".into(), location: "s3://pictures/x".into(), error: "no".into() }];
    let outcome = ErasureOutcome::Left { left: left.clone(), retry_at: at(4000) };
    ledger.settle(&id, &job(1), &outcome, at(2000)).await.expect("settled");
    assert_eq!(ledger.finish(&id, at(3000)).await.expect("finished"), ErasureState::Incomplete);
    let ended = ledger.erasure(&id).await.expect("read").expect("there");
    assert_eq!((ended.state, ended.left), (ErasureState::Incomplete, left));
    assert!(ledger.entry(&job(1)).await.expect("read").is_some(), "it is known still what lies where");
    assert_eq!(ledger.running().await.expect("read"), []);
    // The same can be asked for again.
    let again = order(ErasureId::new(at(5000)), &subject_a(), &[1]);
    assert_eq!(ledger.order(&again).await.expect("ordered"), OrderedErasure::New);
}

async fn orders_are_purged_and_forgotten_in_time(subject: &impl Subject) {
    let ledger = subject.ledger();
    let mut ids = Vec::new();
    for (number, ms) in [(1, 1000), (2, 2000), (3, 3000)] {
        let id = ErasureId::new(at(ms));
        let new = NewErasure { created_at: at(ms), target: None, ..order(id, &subject_a(), &[number]) };
        ledger.order(&new).await.expect("ordered");
        ledger.settle(&id, &job(number), &erased(1, 0), at(ms + 1)).await.expect("settled");
        ids.push(id);
    }
    for (id, ms) in [(&ids[0], 1100), (&ids[1], 2100)] {
        ledger.finish(id, at(ms)).await.expect("finished");
    }
    assert_eq!(ledger.unpurged().await.expect("read"), ids[..2]);
    ledger.mark_purged(&ids[..1], at(1200)).await.expect("marked");
    ledger.mark_purged(&ids[..1], at(9999)).await.expect("marked");
    assert_eq!(ledger.unpurged().await.expect("read"), ids[1..2]);
    assert_eq!(ledger.erasure(&ids[0]).await.expect("read").and_then(|order| order.purged_at), Some(at(1200)));

    while ledger.forget(at(1500), 1).await.expect("forgotten") {}
    assert_eq!(ledger.erasure(&ids[0]).await.expect("read"), None);
    assert_eq!(ledger.erased_at(&job(1)).await.expect("read"), None);
    while ledger.forget(at(99_999), 1).await.expect("forgotten") {}
    assert_eq!(ledger.erasure(&ids[1]).await.expect("read"), None);
    let running = ledger.erasure(&ids[2]).await.expect("read");
    assert_eq!(running.map(|order| order.state), Some(ErasureState::Running), "it has not ended");
    assert_eq!(ledger.unpurged().await.expect("read"), []);
}

fn recipient(url: &str) -> ErasureRecipient {
    let target = CallbackTarget {
        url: url.parse().expect("a URL"),
        sealed_url: Some(SealedText("sealed".to_owned())),
        sealed_headers: None,
        events: CallbackEvents::new(&[CallbackEvent::Erased]),
    };
    ErasureRecipient { target, reference: JobRef::parse("order-7"), accepted_at: at(4000), urls: BTreeMap::default() }
}

async fn who_is_to_be_told_is_known_with_an_entry_and_goes_with_it(subject: &impl Subject) {
    let ledger = subject.ledger();
    let told = LedgerEntry { recipient: Some(recipient("https://app.example/")), ..entry(1, owner("a"), b"one") };
    // Of one that stored nothing there is nothing else to be known.
    let empty = LedgerEntry { files: Vec::new(), expires_at: Some(at(9000)), job_id: job(2), ..told.clone() };
    for entry in [&told, &empty] {
        ledger.record(entry).await.expect("recorded");
    }
    let ledger = subject.ledger();
    for entry in [&told, &empty] {
        assert_eq!(ledger.entry(&entry.job_id).await.expect("read").as_ref(), Some(entry));
    }
    assert_eq!(ledger.of_hash(&told.hash()).await.expect("read").len(), 2);
    assert_eq!(ledger.due(at(9000), 10).await.expect("read").len(), 1);
    let elsewhere = LedgerEntry { recipient: Some(recipient("https://other.example/")), ..told.clone() };
    let nobody = LedgerEntry { recipient: None, ..told.clone() };
    for written in [elsewhere, nobody] {
        ledger.record(&written).await.expect("recorded");
        assert_eq!(ledger.entry(&job(1)).await.expect("read"), Some(written));
    }
    ledger.record(&told).await.expect("recorded");
    ledger.remove(&[job(1)]).await.expect("removed");
    ledger.record(&entry(1, owner("a"), b"one")).await.expect("recorded");
    assert_eq!(ledger.entry(&job(1)).await.expect("read").and_then(|entry| entry.recipient), None);
}

async fn an_event_is_owed_from_the_step_that_erases_its_job_until_it_is_removed(subject: &impl Subject) {
    let ledger = subject.ledger();
    let id = ErasureId::new(at(1000));
    ledger.order(&order(id, &subject_a(), &[1, 2, 3])).await.expect("ordered");
    let event = |number: u8| Some(SealedText(format!("what is told of {number}")));
    for number in [1, 2, 3] {
        ledger.record(&entry(number, owner("a"), &[number])).await.expect("recorded");
        let tally = ErasureTally::default();
        let event = event(number).filter(|_| number != 3);
        let outcome = ErasureOutcome::Erased { tally, is_versioned: false, kept: Vec::new(), event };
        ledger.settle(&id, &job(number), &outcome, at(2000 + u64::from(number))).await.expect("settled");
    }
    let owed = |number: u8, due_ms, attempts| ErasedEvent {
        job_id: job(number),
        since: at(2000 + u64::from(number)),
        due_at: at(due_ms),
        attempts,
        sealed: event(number).expect("told"),
    };
    let (first, second) = (owed(1, 2001, 0), owed(2, 2002, 0));
    let ledger = subject.ledger();
    let counted = async || ledger.owed_events().await.expect("counted");
    assert_eq!(counted().await, OwedEvents { count: 2, oldest: Some(at(2001)) });
    let due = async |ms, limit| ledger.due_events(at(ms), limit).await.expect("read");
    assert_eq!(due(2000, 10).await, DueEvents { events: vec![], next_due: Some(at(2001)) });
    assert_eq!(due(2001, 10).await, DueEvents { events: vec![first.clone()], next_due: Some(at(2002)) });
    assert_eq!(due(9000, 10).await, DueEvents { events: vec![first.clone(), second.clone()], next_due: None });
    assert_eq!(due(9000, 1).await.events, std::slice::from_ref(&first));
    assert_eq!(ledger.events(None, 10).await.expect("read"), [first.clone(), second.clone()]);
    assert_eq!(ledger.events(Some(&job(1)), 10).await.expect("read"), std::slice::from_ref(&second));
    assert_eq!(ledger.events(None, 1).await.expect("read"), std::slice::from_ref(&first));

    ledger.put_off_event(&first, at(5000), 1).await.expect("put off");
    let first = owed(1, 5000, 1);
    assert_eq!(counted().await, OwedEvents { count: 2, oldest: Some(at(2001)) }, "put off, it is owed as before");
    assert_eq!(due(4999, 10).await, DueEvents { events: vec![second.clone()], next_due: Some(at(5000)) });
    assert_eq!(due(5000, 10).await.events, [second.clone(), first.clone()]);
    for _ in 0..2 {
        ledger.remove_event(&second).await.expect("removed");
    }
    assert_eq!(counted().await, OwedEvents { count: 1, oldest: Some(at(2001)) });
    ledger.put_off_event(&second, at(4000), 7).await.expect("nothing is left to be put off");
    assert_eq!(due(9000, 10).await, DueEvents { events: vec![first.clone()], next_due: None });

    // As it comes from another ledger, and again.
    for _ in 0..2 {
        ledger.put_event(&second).await.expect("written");
    }
    assert_eq!(due(9000, 10).await.events, [second.clone(), first.clone()]);
    for event in [first, second] {
        ledger.remove_event(&event).await.expect("removed");
    }
    assert_eq!(counted().await, OwedEvents::default());
}

macro_rules! suite {
    ($ledger:ident, $subject:ty, [$($fact:ident),+ $(,)?]) => {
        mod $ledger {
            $(
                #[tokio::test]
                async fn $fact() {
                    super::$fact(&<$subject>::start().await).await;
                }
            )+
        }
    };
}

macro_rules! both {
    ($($fact:ident),+ $(,)?) => {
        suite!(sqlite, super::Sqlite, [$($fact),+]);
        suite!(in_bucket, super::InBucket, [$($fact),+]);
    };
}

both!(
    many_hashes_are_looked_up_at_once_and_an_owner_by_its_part_of_them,
    of_comparisons_one_is_begun_and_it_is_known_what_became_of_it,
    what_is_recorded_is_found_by_job_hash_and_subject,
    many_are_recorded_at_once_as_each_would_be,
    a_name_that_was_registered_again_shares_hashes_and_not_owners,
    recorded_again_it_is_what_was_said_last,
    a_store_holds_what_is_recorded_and_not_removed,
    pages_have_every_entry_once,
    jobs_come_due_in_order_once_their_time_is_over,
    an_order_is_carried_out_step_by_step,
    what_could_not_be_erased_makes_an_order_incomplete,
    orders_are_purged_and_forgotten_in_time,
    who_is_to_be_told_is_known_with_an_entry_and_goes_with_it,
    an_event_is_owed_from_the_step_that_erases_its_job_until_it_is_removed,
);

#[tokio::test]
async fn a_comparison_whose_node_is_gone_has_stopped_and_holds_nobody_up() {
    let subject = InBucket::start().await;
    let ledger = subject.ledger();
    let request = GcRequest { adopt: false, delete: true, older_than: GcRequest::OLDER_THAN_MIN };
    let (first, second) = (GcRun::begin(request, at(1000)), GcRun::begin(request, at(2000)));
    assert_eq!(ledger.begin_gc(&first).await.expect("asked"), None);
    let keys = subject.0.keys("pixerve").await;
    let key = keys.iter().find(|key| key.contains("gc/running/")).expect("it is noted");
    subject.0.age("pixerve", key, Duration::from_secs(61));
    let stopped = ledger.gc_run(&first.id).await.expect("read").expect("known");
    assert_eq!(stopped.state, GcState::Stopped);
    assert_eq!(ledger.begin_gc(&second).await.expect("asked"), None);
    let stopped = ledger.gc_run(&first.id).await.expect("read").expect("known");
    assert_eq!(stopped.state, GcState::Stopped);
}
