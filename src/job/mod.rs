//! What a job is: its id, its owner, what it asks for, the names of its files, and the states it goes through.
//! Everything here is plain data; an invalid job can't be built.

mod callback_event;
mod delivery_id;
mod error_code;
mod hash;
mod id;
mod idempotency;
mod name;
mod on_duplicate;
mod once;
mod owner;
mod placeholder;
mod pointer;
mod preset_name;
mod private_owner;
#[cfg(test)]
mod properties;
mod public_url;
mod record;
mod reference;
mod served_path;
mod shape;
mod shown_file;
mod source;
mod spec;
mod state;
mod stored_name;
mod table;
#[cfg(test)]
mod test_record;
mod trace_context;
mod warning;
mod webhook_secret;

pub use callback_event::{CallbackEvent, CallbackEvents};
pub use delivery_id::{DeliveryId, DeliverySubject};
pub use error_code::ErrorCode;
pub use hash::{ContentHash, ContentHasher, HashKey};
pub use id::JobId;
pub use idempotency::{Idempotency, IdempotencyKey, KeptAnswer, RequestFingerprint};
pub use name::{
    FileName, MANIFEST, NameHead, NamedFile, Stem, is_plain_name, manifest_name, original_name, variant_name,
};
pub use on_duplicate::{JobFingerprint, OnDuplicate};
pub use once::OnceToken;
pub use owner::{Owner, OwnerKey, TenantKey, UserKey};
pub use placeholder::Placeholder;
pub use pointer::{ClaimErrors, FieldError};
pub use preset_name::PresetName;
pub use private_owner::PrivateOwner;
pub use public_url::PublicUrl;
pub use record::{
    CallbackTarget, JobError, JobRecord, Original, RecordVersion, SealedText, Stored, StoredFile, UnknownRecordVersion,
    UnreadableRecord,
};
pub use reference::JobRef;
pub use served_path::{ServedArea, ServedPath};
pub use shape::has_shape_of;
pub use shown_file::{FileKind, ShownFile, shown_files};
pub use source::{FileType, Inspection, SourceFormat, SourceFormatInfo, SourceInfo};
pub use spec::{
    BOX_SIDE_MAX, BackendInfo, BackendKind, Background, CallbackAddresses, CallbackHeader, ExpiresAfter, Fit, Format,
    FormatInfo, JobSpec, MergedJob, ParsedJob, Position, Preset, PresetError, Priority, SpecLimits, StorageKey, SubDir,
    VariantSpec, job_components, job_schema,
};
pub(crate) use spec::{Fields, optional};
pub use state::State;
pub use stored_name::{NamedOwner, StoredName};
pub(crate) use table::enumerate;
#[cfg(test)]
pub(crate) use test_record::job_record;
pub use trace_context::TraceContext;
pub use warning::{Warning, Warnings, warnings_of};
pub use webhook_secret::WebhookSecret;
