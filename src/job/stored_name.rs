//! The names of stored files, read back: of which bytes a file is, and whose, as far as its name tells.

use super::{ContentHash, Format, HashKey, JobId, MANIFEST, Owner, SourceFormat};
use crate::clock::Timestamp;

/// Bytes of a stem at most, and of a subject that stands in a name as it is.
const STEM_BYTES_MAX: usize = 80;
const SUBJECT_BYTES_MAX: usize = 64;
/// Hex digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;
/// A side that was asked for.
const SIDE_MAX: u32 = 65_535;

/// A name that a variant, an original or a manifest of some job may have, and nothing else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredName(Head);

/// What it begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Head {
    Hash {
        content: ContentHash,
        /// Every owner part that it may have. There are several where a `_` may be the subject's or the stem's, which had some in
        /// 0.2.0 and before.
        owner_parts: Vec<String>,
    },
    /// The job itself: no other one ever writes that name.
    Job(JobId),
}

/// Whose a file is, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedOwner {
    /// A subject of the keys of `jwt.json`.
    Subject(Owner),
    /// Whoever has this digest in names: a subject of a registered user, or one that isn't plain.
    Digest(String),
    /// One of several.
    Unclear,
    /// It says nothing of it.
    Untold,
}

impl StoredName {
    /// Reads a file's name; none if no job's file has it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (base, extension) = name.rsplit_once('.')?;
        let (head, rest) = base.split_once('_').filter(|(_, rest)| rest.bytes().all(is_plain))?;
        let variant = variant_of(rest).filter(|_| Format::ALL.iter().any(|format| format.extension() == extension));
        let is_original = SourceFormat::ALL.iter().any(|format| format.extension() == extension);
        let rest = variant.or((is_original || extension == MANIFEST.extension).then_some(rest))?;
        if let Some(job) = job_of(head) {
            return is_stem(rest).then_some(Self(Head::Job(job)));
        }
        let content = ContentHash::from_hex(head).filter(|_| is_hex(head))?;
        let owner_parts = owner_parts(rest);
        (!owner_parts.is_empty()).then_some(Self(Head::Hash { content, owner_parts }))
    }

    /// Every hash that its job may have; none of a name that tells the job itself.
    #[must_use]
    pub fn hashes(&self) -> Vec<HashKey> {
        let Head::Hash { content, owner_parts } = &self.0 else { return Vec::new() };
        let hashes = owner_parts.iter().map(|part| HashKey::parse(&format!("{content}_{part}")));
        hashes.map(|hash| hash.expect("INVARIANT: a digest and an owner part make a hash")).collect()
    }

    /// Its job, if it tells that.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        match self.0 {
            Head::Job(job) => Some(job),
            Head::Hash { .. } => None,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> NamedOwner {
        let Head::Hash { owner_parts, .. } = &self.0 else { return NamedOwner::Untold };
        match &**owner_parts {
            [part] if is_owner_digest(part) => NamedOwner::Digest(part.clone()),
            [part] => NamedOwner::Subject(Owner { user: None, access_key: None, sub: part.clone() }),
            _ => NamedOwner::Unclear,
        }
    }
}

/// What stands before `_<height>_<width>_`.
fn variant_of(rest: &str) -> Option<&str> {
    let (rest, width) = rest.strip_suffix('_')?.rsplit_once('_')?;
    let (rest, height) = rest.rsplit_once('_')?;
    let is_side = |text: &str| text.parse::<u32>().is_ok_and(|side| side <= SIDE_MAX && side.to_string() == text);
    (is_side(width) && is_side(height)).then_some(rest)
}

/// Every way to take an owner part off what has a stem behind it.
fn owner_parts(owner_and_stem: &str) -> Vec<String> {
    let separators = owner_and_stem.match_indices('_').map(|(at, _)| owner_and_stem.split_at(at));
    let parts = separators.filter(|(owner, stem)| {
        let is_owner = is_owner_digest(owner) || (1..=SUBJECT_BYTES_MAX).contains(&owner.len());
        is_owner && is_stem(&stem[1..])
    });
    parts.map(|(owner, _)| owner.to_owned()).collect()
}

fn is_stem(text: &str) -> bool {
    (1..=STEM_BYTES_MAX).contains(&text.len())
}

/// The job whose id this is, as ids are written.
fn job_of(text: &str) -> Option<JobId> {
    let job: JobId = text.parse().ok()?;
    let is_version_7 = job.as_bytes()[6] >> 4 == 7;
    (is_version_7 && job.to_string() == text).then_some(job)
}

fn is_owner_digest(part: &str) -> bool {
    part.strip_prefix("h-").is_some_and(is_hex)
}

fn is_hex(text: &str) -> bool {
    text.len() == DIGEST_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

impl HashKey {
    /// The id under which files of this hash are written down that no record tells of, the first of which was written then: by
    /// its time it is told whether it may be the present holder's of a user's name.
    #[must_use]
    pub fn adopted_job(&self, written_at: Timestamp) -> JobId {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&written_at.as_millis().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&self.adopted_mark());
        JobId::from_bytes(bytes)
    }

    /// Whether it is such an id, of whatever time.
    #[must_use]
    pub fn is_adopted(&self, job: &JobId) -> bool {
        job.as_bytes()[6..] == self.adopted_mark()
    }

    /// What stands in the place of what is random in the ids of uploads.
    fn adopted_mark(&self) -> [u8; 10] {
        let digest = ContentHash::of(format!("adopted {self}").as_bytes());
        let mut mark = *digest.as_bytes().first_chunk().expect("INVARIANT: it has 32 bytes");
        // Version 7, and the variant of RFC 9562.
        mark[0] = 0x70 | (mark[0] & 0x0f);
        mark[2] = 0x80 | (mark[2] & 0x3f);
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Stem, manifest_name, original_name, variant_name};

    fn owner(user: Option<&str>, sub: &str) -> Owner {
        Owner { user: user.map(str::to_owned), access_key: None, sub: sub.to_owned() }
    }

    fn hash(owner: &Owner) -> HashKey {
        HashKey::new(&ContentHash::of(b"bytes"), owner)
    }

    #[test]
    fn every_name_that_is_made_is_read_back() {
        for owner in [owner(None, "me"), owner(None, "a_b.c-d"), owner(Some("shop"), "me"), owner(None, "../etc")] {
            let hash = hash(&owner);
            let stem = Stem::of("summer photo_1.v2.jpg");
            let variants = Format::ALL.map(|format| variant_name(&hash, &stem, 0, 65_535, format));
            let originals = SourceFormat::ALL.map(|format| original_name(&hash, &stem, format));
            for name in variants.into_iter().chain(originals).chain([manifest_name(&hash, &stem)]) {
                let read = StoredName::parse(&name).unwrap_or_else(|| panic!("{name}"));
                assert!(read.hashes().contains(&hash), "{name}: {read:?}");
            }
        }
    }

    #[test]
    fn a_name_that_begins_with_a_job_tells_that_alone() {
        let job = JobId::new(Timestamp::from_millis(1_764_500_000_123));
        for name in [format!("{job}_photo_8_6_.jpg"), format!("{job}_photo.gif"), format!("{job}_photo.json")] {
            let read = StoredName::parse(&name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!((read.job(), read.hashes(), read.owner()), (Some(job), Vec::new(), NamedOwner::Untold));
        }
        let (upper, other_version) = (job.to_string().to_uppercase(), JobId::from_bytes([0x40; 16]));
        for bad in [format!("{upper}_photo_8_6_.jpg"), format!("{other_version}_photo.jpg"), format!("{job}_.jpg")] {
            assert_eq!(StoredName::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_tells_whose_it_is_unless_more_than_one_may_have_it() {
        let named = |owner: &Owner, stem: &str| {
            let name = format!("{}_{stem}_8_6_.webp", hash(owner));
            StoredName::parse(&name).unwrap_or_else(|| panic!("{name}")).owner()
        };
        let me = owner(None, "me");
        assert_eq!(named(&me, "photo"), NamedOwner::Subject(me.clone()));
        let of_shop = owner(Some("shop"), "a_b");
        assert_eq!(named(&of_shop, "photo"), NamedOwner::Digest(of_shop.hash_part()));
        assert_eq!(named(&of_shop, "old_photo"), NamedOwner::Digest(of_shop.hash_part()), "no subject has as many");
        assert_eq!(named(&me, "old_photo"), NamedOwner::Unclear, "it may be one of `me_old`");
        assert_eq!(named(&owner(None, "a_b"), "photo"), NamedOwner::Unclear);
    }

    #[test]
    fn nothing_else_is_one_of_ours() {
        let digest = "0".repeat(64);
        let good = format!("{digest}_me_photo_8_6_.jpg");
        assert!(StoredName::parse(&good).is_some());
        for bad in [
            String::new(),
            "index.html".to_owned(),
            format!("{digest}.jpg"),
            format!("{digest}_me.jpg"),
            format!("{digest}_me_.jpg"),
            format!("{digest}__photo.jpg"),
            format!("{}_me_photo.jpg", &digest[1..]),
            format!("{}A_me_photo.jpg", &digest[1..]),
            format!("{}_me_photo.jpg", digest.to_uppercase().replace('0', "F")),
            format!("{digest}_me_photo.html"),
            format!("{digest}_me.json"),
            format!("{digest}_me_photo_8_6_.gif_"),
            format!("{digest}_me_photo"),
            format!("{digest}_me_photo.jpg.bak"),
            format!(".{digest}_me_photo.jpg"),
            format!("{digest}_me_ph oto.jpg"),
            format!("{digest}_me/photo.jpg"),
            format!("{digest}_{}_photo.jpg", "x".repeat(65)),
            format!("{digest}_me_{}.jpg", "x".repeat(81)),
        ] {
            assert_eq!(StoredName::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_adopted_is_known_by_its_id_and_is_no_upload() {
        let [one, other] = ["me", "you"].map(|sub| hash(&owner(None, sub)));
        let written_at = Timestamp::from_millis(1_764_500_000_123);
        let id = one.adopted_job(written_at);
        assert_eq!(id.made_at(), written_at);
        assert!(one.is_adopted(&id) && one.is_adopted(&one.adopted_job(Timestamp::from_millis(0))));
        assert!(!other.is_adopted(&id) && !one.is_adopted(&JobId::new(written_at)));
        let text = id.to_string();
        assert!(text.as_bytes()[14] == b'7' && b"89ab".contains(&text.as_bytes()[19]), "{text}");
    }
}
