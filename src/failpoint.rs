//! The moments at which a test may end the process, as a crash or a loss of power would: one at each step after which
//! something is on disk, or known to another part, that was not before.
//!
//! Nothing of this is in a release: the macro of the `fail` crate is empty unless its feature `failpoints` is on, and
//! only builds of tests turn that on. There `FAILPOINTS="claim::after=return"` ends the process at the first claim, and
//! `"claim::after=2*off->return"` at the third.

/// Names every step once, so that a test that walks all of them misses none.
macro_rules! steps {
    ($(#[doc = $what:literal])+ $steps:ident: $($(#[doc = $doc:literal])+ $step:ident = $name:literal,)*) => {
        $(#[doc = $what])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $steps {
            $($(#[doc = $doc])+ $step,)*
        }

        impl $steps {
            /// Every step, in about the order in which they are passed.
            pub const ALL: &'static [Self] = &[$(Self::$step,)*];

            /// What `FAILPOINTS` calls it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }

        impl From<$steps> for &'static str {
            fn from(step: $steps) -> Self {
                step.name()
            }
        }
    };
}

steps! {
    /// A moment between two effects of a server.
    Step:
    /// An upload has its directory and an empty file.
    UploadBegun = "upload::begun",
    /// Its bytes are written, and not synced.
    UploadBeforeOriginalFsync = "upload::before_original_fsync",
    /// Its bytes are durable.
    UploadAfterOriginalFsync = "upload::after_original_fsync",
    /// Its manifest is durable.
    UploadAfterManifestFsync = "upload::after_manifest_fsync",
    /// Its directory is durable, and not in its place.
    UploadBeforeRename = "upload::before_rename",
    /// It is in its place, and that is not durable.
    UploadAfterRename = "upload::after_rename",
    /// The spool has it for good; the queue doesn't know.
    UploadBeforeEnqueue = "upload::before_enqueue",
    /// The queue has the job in memory.
    EnqueueApplied = "enqueue::applied",
    /// The queue has it for good; the client doesn't know.
    UploadAfterEnqueue = "upload::after_enqueue",
    /// The queue holds a batch of changes that is not durable; a start, too, has one.
    QueueBeforeSync = "queue::before_sync",
    /// The batch is durable; its callers don't know.
    QueueAfterSync = "queue::after_sync",
    /// The queue has given a job out, in memory.
    ClaimApplied = "claim::applied",
    /// A worker has the job, durably.
    ClaimAfter = "claim::after",
    /// The pixels are about to be worked on.
    RenderBefore = "render::before",
    /// A variant is made and in the spool; the job's journal doesn't know.
    VariantSpooled = "variant::spooled",
    /// Every variant is made; some are in no store.
    VariantsMade = "variants::made",
    /// A file of the job is made, and about to be put into a store.
    WriteBeforePut = "write::before_put",
    /// It is written beside its place, and not synced.
    WriteBeforeFsync = "write::before_fsync",
    /// It is durable beside its place.
    WriteBeforeRename = "write::before_rename",
    /// It is in its place, and that is not durable.
    WriteAfterRename = "write::after_rename",
    /// It is stored; the job's journal doesn't know.
    JournalBefore = "journal::before",
    /// A line of the journal is written, and not synced.
    JournalWritten = "journal::written",
    /// The line is durable.
    JournalAfter = "journal::after",
    /// Every picture is in every store; the manifest that tells where they are is made, and in none.
    ManifestMade = "manifest::made",
    /// Every file is stored; the queue doesn't know.
    SettleBefore = "settle::before",
    /// What is stored of it is in the ledger; the queue doesn't know.
    SettleRecorded = "settle::recorded",
    /// The job has its terminal record, in memory.
    SettleApplied = "settle::applied",
    /// The terminal record is durable; the spool has the job still.
    SettleAfter = "settle::after",
    /// The entry of a job that failed or was cancelled is where it is kept, with what attempts have left.
    SpoolKept = "spool::kept",
    /// The job's entry is in the trash, and not deleted.
    SpoolTrashed = "spool::trashed",
    /// It is gone from the spool.
    SpoolRemoved = "spool::removed",
    /// A callback is about to be sent.
    CallbackBeforeSend = "callback::before_send",
    /// Its receiver has taken it; the queue doesn't know.
    CallbackAfterReply = "callback::after_reply",
    /// The queue has noted that, in memory.
    CallbackSettleApplied = "callback::settle_applied",
    /// The queue has noted it for good.
    CallbackSettled = "callback::settled",
    /// A job's work has been stopped; the cancellation is not written down.
    CancelBefore = "cancel::before",
    /// It is written down; the client doesn't know, and the spool has the job still.
    CancelAfter = "cancel::after",
    /// A job that runs another again is in the spool for good; the queue doesn't know.
    RetrySpooled = "retry::spooled",
    /// The queue has it for good, and the other names it; the client doesn't know.
    RetryEnqueued = "retry::enqueued",
    /// A job on the bytes of another is in the spool for good; the queue doesn't know.
    ReprocessSpooled = "reprocess::spooled",
    /// The queue has it for good; the client doesn't know.
    ReprocessEnqueued = "reprocess::enqueued",
    /// A registration is written, and not durable.
    RegisterWritten = "register::written",
    /// It is durable; the client doesn't know.
    RegisterDurable = "register::durable",
    /// A database has been made, and not its companion that says which it is.
    DatabaseMade = "database::made",
    /// A database that was left in use has been copied.
    DatabaseCopied = "database::copied",
    /// A database is read and good; its copy has not taken the place of the last one.
    DatabaseChecked = "database::checked",
    /// The queue's records are read, and jobs without a worker requeued.
    StartRecovered = "start::recovered",
    /// Spool and queue are compared.
    StartReconciled = "start::reconciled",
    /// The server has noted that it is stopping.
    StopDraining = "stop::draining",
    /// A database is closed, and not noted as closed cleanly.
    StopBeforeCleanNote = "stop::before_clean_note",
}

steps! {
    /// A moment between two effects of a migration.
    MigrationStep:
    /// The home that is left is marked; the other isn't.
    SourceMarked = "migration::source_marked",
    /// Both homes are marked.
    BothMarked = "migration::both_marked",
    /// The register and the secret of callbacks are in both.
    RegisterCopied = "migration::register_copied",
    /// A served file is in both.
    ServedCopied = "migration::served_copied",
    /// The original of a job is in both, and not read again; the job isn't.
    OriginalCopied = "migration::original_copied",
    /// Some jobs are in both, of which the one that is new has no journals.
    PageImported = "migration::page_imported",
    /// Some jobs are in both with all that they have.
    JournalsCopied = "migration::journals_copied",
    /// Everything is in both, durably.
    AllCopied = "migration::all_copied",
    /// The one home says that it is left; no server starts on the other yet.
    SourceLeft = "migration::source_left",
}

steps! {
    /// A moment between two effects of an erasure.
    ErasureStep:
    /// The order is written down; nobody carries it out.
    Ordered = "erasure::ordered",
    /// A live job that is to be erased has ended.
    Cancelled = "erasure::cancelled",
    /// What is stored of it is in the ledger, whatever is known of it besides.
    Recorded = "erasure::recorded",
    /// Its original has left the spool; its record is there.
    SpoolLeft = "erasure::spool_left",
    /// Its record is gone; its files are not.
    RecordGone = "erasure::record_gone",
    /// One of its files is gone.
    FileDeleted = "erasure::file_deleted",
    /// All of its files are; the ledger has them.
    FilesDeleted = "erasure::files_deleted",
    /// The ledger has nothing of the job; the order has not ended.
    JobSettled = "erasure::job_settled",
    /// The order has ended; the databases have its bytes.
    Finished = "erasure::finished",
    /// The queue's database is rewritten, the ledger's is not.
    QueueRewritten = "erasure::queue_rewritten",
    /// Both are; the order doesn't say so.
    Purged = "erasure::purged",
}

steps! {
    /// A moment between two effects of looking for jobs whose time is over.
    ExpiryStep:
    /// The order to erase them is written down; they are due still.
    Ordered = "expiry::ordered",
    /// They aren't any more.
    Unmarked = "expiry::unmarked",
}

steps! {
    /// A moment between two effects of a comparison of stores with the ledger.
    GcStep:
    /// Something is written down that the ledger didn't know; who asked doesn't know.
    Adopted = "gc::adopted",
    /// A file that nobody knew is gone; the report doesn't say so.
    FileDeleted = "gc::file_deleted",
    /// Every store is gone through; what is missing was not looked for.
    Compared = "gc::compared",
    /// All of it is done; that it has ended is not noted.
    Ended = "gc::ended",
}

/// Does what `FAILPOINTS` of the environment says from now on, where failpoints are compiled in.
pub fn arm() {
    if fail::has_failpoints() {
        // Kept: dropping it would disarm them.
        std::mem::forget(fail::FailScenario::setup());
    }
}

/// Marks the moment. Where a test has chosen it, the process ends here, without any cleaning up.
#[inline]
pub fn reached(step: impl Into<&'static str>) {
    let name = step.into();
    fail::fail_point!(name, |_| std::process::abort());
    // Without failpoints the macro is empty, and uses nothing.
    let _ = name;
}
