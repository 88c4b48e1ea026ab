//! Which of a job's variants is shown to whom.

use crate::job::{Format, JobRecord, StoredFile, VariantSpec, has_shape_of};
use crate::routes::accept::Accept;

/// What `/files` serves.
const SERVED: &str = "/files/";

/// Pixels for a side, width first; 0 for a side that is free.
pub(super) type SizeBox = [u32; 2];

/// A variant that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) format: Format,
    /// The box that it was to fit into.
    pub(super) size: SizeBox,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: u64,
    /// Below `/files/`.
    pub(super) location: String,
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Pixels; none for as many as there are.
    pub(super) width: Option<u32>,
    pub(super) size: Option<SizeBox>,
    /// None for what the client takes.
    pub(super) format: Option<Format>,
}

/// Those of the job's variants that are stored where `/files` has them, in the order of its claims.
pub(super) fn candidates(record: &JobRecord, files: &[StoredFile]) -> Vec<Candidate> {
    let candidate = |variant: &VariantSpec| {
        let VariantSpec { format, width, height, .. } = *variant;
        let name = record.variant_name(variant);
        let file = files.iter().find(|file| file.name == name)?;
        let stored = file.stored.iter().find(|stored| stored.location.starts_with(SERVED))?;
        Some(Candidate {
            format,
            size: [width, height],
            width: file.width,
            height: file.height,
            bytes: file.bytes,
            location: stored.location.clone(),
        })
    };
    record.spec.variants.iter().filter_map(candidate).collect()
}

/// The best for `wish` of those of a picture of `own` pixels that a client takes which says `accept`; none if there are none, or
/// none in the box or the format that is wanted.
pub(super) fn choose<'a>(
    candidates: &'a [Candidate],
    own: (u32, u32),
    wish: &Wish,
    accept: &Accept,
) -> Option<&'a Candidate> {
    let mut left: Vec<&Candidate> = candidates.iter().collect();
    match wish.size {
        Some(size) => left.retain(|candidate| candidate.size == size),
        None => prefer(&mut left, |candidate| has_shape_of((candidate.width, candidate.height), own)),
    }
    if let Some(format) = wish.format {
        left.retain(|candidate| candidate.format == format);
    } else {
        prefer(&mut left, |candidate| is_old(candidate.format) || accepts(accept, candidate.format));
        // What says that it takes none of them most likely shows one that everybody does.
        prefer(&mut left, |candidate| accepts(accept, candidate.format));
    }
    // Of two that are equally good the format counts whose turn is first.
    let of_each_format = Format::ALL.into_iter().rev().filter_map(|format| {
        let of_format = left.iter().copied().filter(|candidate| candidate.format == format);
        narrowest(of_format, wish.width)
    });
    of_each_format.min_by_key(|candidate| candidate.bytes)
}

/// Leaves those that are `good`, if any is.
fn prefer(left: &mut Vec<&Candidate>, good: impl Fn(&Candidate) -> bool) {
    if left.iter().any(|candidate| good(candidate)) {
        left.retain(|candidate| good(candidate));
    }
}

/// Whether every browser shows it.
fn is_old(format: Format) -> bool {
    matches!(format, Format::Jpeg | Format::Png)
}

/// Whether a client takes it. Old ones say that they take every image, and mean those that they know.
fn accepts(accept: &Accept, format: Format) -> bool {
    if is_old(format) { accept.allows(format.media_type()) } else { accept.names(format.media_type()) }
}

/// The narrowest that is at least so wide, with the fewest bytes of those of one width; else the widest.
fn narrowest<'a>(of_format: impl Iterator<Item = &'a Candidate>, width: Option<u32>) -> Option<&'a Candidate> {
    let width = width.unwrap_or(u32::MAX);
    of_format.min_by_key(|candidate| {
        let is_narrow = candidate.width < width;
        let by_width = if is_narrow { u32::MAX - candidate.width } else { candidate.width };
        (is_narrow, by_width, candidate.bytes)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT;
    use axum::http::{HeaderMap, HeaderValue};

    use super::{Candidate, Wish, choose};
    use crate::job::Format;
    use crate::routes::accept::Accept;

    const OWN: (u32, u32) = (400, 300);

    fn candidate(format: Format, (width, height): (u32, u32), bytes: u64) -> Candidate {
        Candidate {
            format,
            size: [width, height],
            width,
            height,
            bytes,
            location: format!("{format:?} {width}x{height}"),
        }
    }

    /// Where the one is that is shown to whoever says this.
    fn chosen(candidates: &[Candidate], width: Option<u32>, accept: &'static str) -> Option<String> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let wish = Wish { width, ..Wish::default() };
        choose(candidates, OWN, &wish, &Accept::of(&headers)).map(|candidate| candidate.location.clone())
    }

    #[test]
    fn a_job_that_has_nothing_but_crops_shows_one_of_them() {
        let crops = [candidate(Format::Jpeg, (50, 50), 5), candidate(Format::Jpeg, (90, 30), 6)];
        assert_eq!(chosen(&crops, None, "*/*").as_deref(), Some("Jpeg 90x30"));
        assert_eq!(chosen(&crops, Some(40), "*/*").as_deref(), Some("Jpeg 50x50"));
        let [square, strip] = crops;
        let whole = candidate(Format::Jpeg, (40, 30), 7);
        assert_eq!(
            chosen(&[square, strip, whole], None, "*/*").as_deref(),
            Some("Jpeg 40x30"),
            "not once there is one"
        );
    }

    #[test]
    fn who_takes_no_jpeg_is_shown_a_png_and_who_takes_neither_what_there_is() {
        let both = [candidate(Format::Jpeg, (40, 30), 5), candidate(Format::Png, (40, 30), 9)];
        assert_eq!(chosen(&both, None, "image/jpeg;q=0, */*").as_deref(), Some("Png 40x30"));
        assert_eq!(chosen(&both, None, "image/png;q=0, */*").as_deref(), Some("Jpeg 40x30"));
        assert_eq!(chosen(&both, None, "*/*").as_deref(), Some("Jpeg 40x30"), "the fewer bytes");
        assert_eq!(chosen(&both, None, "text/html").as_deref(), Some("Jpeg 40x30"));
        assert_eq!(chosen(&[], None, "*/*"), None);
    }
}
