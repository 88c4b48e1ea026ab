//! The boxes of ISO media files, and the items that `meta` lists (ISO/IEC 14496-12, 8.11).
//!
//! Every loop here is bounded by bytes that are there, never by a count that a box announces.

use std::collections::BTreeMap;
use std::io::{BufRead, Seek};
use std::ops::Range;

use super::BoundedReader;
use crate::pipeline::InspectError;

/// The largest `meta` that is read, `idat` apart. A grid of a thousand tiles takes 100 kB, a colour profile up to 2 MB.
const META_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Boxes on the top level, and in `meta`, that are looked at.
const BOXES_MAX: usize = 1024;

/// Extents of all items together. An extent may take no byte of the file, so the file's size is no bound.
const EXTENTS_MAX: usize = 65_536;

/// A four-letter code: of a box, an item, a reference.
pub(in crate::pipeline) type Code = [u8; 4];

/// The items of a file: what its `meta` box says.
#[derive(Debug)]
pub(in crate::pipeline) struct Items {
    /// The item that is the picture.
    pub(in crate::pipeline) primary: u32,
    kinds: BTreeMap<u32, Code>,
    /// Where each item's bytes lie in the file, in order.
    extents: BTreeMap<u32, Vec<Range<u64>>>,
    properties: Vec<(Code, Vec<u8>)>,
    /// Indices into `properties`, and whether a reader must know them, in order.
    associations: BTreeMap<u32, Vec<(usize, bool)>>,
    references: Vec<(Code, u32, Vec<u32>)>,
}

impl Items {
    /// Reads `meta`. The reader stands at the file's start, before `ftyp`.
    pub(in crate::pipeline) fn read<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Self, InspectError> {
        let (mut tracks, mut without_picture) = (false, None);
        for _ in 0..BOXES_MAX {
            if source.left()? == 0 {
                break;
            }
            let (code, length) = box_header(source)?;
            if &code == b"meta" {
                let end = source.position()?.saturating_add(length);
                match Self::meta(source, length) {
                    // A video may have one too, that describes its tracks.
                    Err(error @ InspectError::Damaged { .. }) => without_picture = Some(error),
                    outcome => return outcome,
                }
                source.seek_to(end)?;
                continue;
            }
            tracks |= &code == b"moov";
            source.skip(length)?;
        }
        if tracks {
            return Err(InspectError::unsupported("this is a sequence of images or a video, without a still picture"));
        }
        Err(without_picture.unwrap_or_else(|| InspectError::damaged("it has no `meta` box")))
    }

    fn meta<R: BufRead + Seek>(source: &mut BoundedReader<R>, length: u64) -> Result<Self, InspectError> {
        let end = source.position()?.saturating_add(length);
        source.skip(4)?;
        let mut boxes = Vec::new();
        let (mut idat, mut taken) = (0..0, 0);
        for _ in 0..BOXES_MAX {
            if source.position()?.saturating_add(8) > end {
                break;
            }
            let (code, length) = box_header(source)?;
            let start = source.position()?;
            if start.saturating_add(length) > end {
                return Err(cut(code));
            }
            if &code == b"idat" {
                idat = start..start + length;
                source.skip(length)?;
                continue;
            }
            taken += length;
            if taken > META_BYTES_MAX {
                return Err(InspectError::damaged(format!("its `meta` has more than {META_BYTES_MAX} bytes")));
            }
            boxes.push((code, source.take(length, usize::MAX)?));
        }
        Self::parse(&boxes, &idat)
    }

    fn parse(boxes: &[(Code, Vec<u8>)], idat: &Range<u64>) -> Result<Self, InspectError> {
        let find = |wanted: &Code| boxes.iter().find(|(code, _)| code == wanted).map(|(_, body)| &body[..]);
        let must =
            |wanted: &Code| find(wanted).ok_or_else(|| InspectError::damaged(format!("it has no {}", name(*wanted))));
        let primary = primary(must(b"pitm")?).ok_or_else(|| cut(*b"pitm"))?;
        let kinds = kinds(must(b"iinf")?).ok_or_else(|| cut(*b"iinf"))?;
        let extents = extents(must(b"iloc")?, idat)?;
        let references = find(b"iref").map_or(Some(Vec::new()), references).ok_or_else(|| cut(*b"iref"))?;
        let (mut properties, mut associations) = (Vec::new(), BTreeMap::new());
        for (code, body) in children(must(b"iprp")?) {
            match &code {
                b"ipco" => properties.extend(children(body).map(|(code, body)| (code, body.to_vec()))),
                b"ipma" => associate(body, &mut associations).ok_or_else(|| cut(code))?,
                _ => {}
            }
        }
        Ok(Self { primary, kinds, extents, properties, associations, references })
    }

    /// The item's type.
    pub(in crate::pipeline) fn kind(&self, item: u32) -> Option<&Code> {
        self.kinds.get(&item)
    }

    /// All items of a type.
    pub(in crate::pipeline) fn of_kind(&self, kind: Code) -> impl Iterator<Item = u32> {
        self.kinds.iter().filter(move |(_, k)| **k == kind).map(|(id, _)| *id)
    }

    /// Where the item's bytes lie in the file; beyond its end, perhaps.
    pub(in crate::pipeline) fn extents(&self, item: u32) -> &[Range<u64>] {
        self.extents.get(&item).map_or(&[], Vec::as_slice)
    }

    /// The item's properties in their order: type, body, and whether a reader must know it.
    pub(in crate::pipeline) fn properties(&self, item: u32) -> impl Iterator<Item = (&Code, &[u8], bool)> {
        let associated = self.associations.get(&item).map_or(&[][..], Vec::as_slice);
        associated.iter().filter_map(|(index, essential)| {
            let (code, body) = self.properties.get(*index)?;
            Some((code, &body[..], *essential))
        })
    }

    /// The item's first property of a type.
    pub(in crate::pipeline) fn property(&self, item: u32, wanted: Code) -> Option<&[u8]> {
        self.properties(item).find(|(code, ..)| **code == wanted).map(|(_, body, _)| body)
    }

    /// The items that `item` refers to in this way, in order.
    pub(in crate::pipeline) fn referred(&self, item: u32, how: Code) -> &[u32] {
        let found = self.references.iter().find(|(code, from, _)| (*code, *from) == (how, item));
        found.map_or(&[], |(.., to)| to)
    }

    /// The items that refer to `item` in this way.
    pub(in crate::pipeline) fn referring(&self, item: u32, how: Code) -> impl Iterator<Item = u32> {
        self.references.iter().filter(move |(code, _, to)| *code == how && to.contains(&item)).map(|(_, from, _)| *from)
    }
}

/// The four-letter codes that `ftyp` claims conformance to: the major brand first.
pub(in crate::pipeline) fn brands<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Vec<Code>, InspectError> {
    let (_, length) = box_header(source)?;
    let body = source.take(length, 1024)?;
    let (codes, _) = body.as_chunks::<4>();
    // Between the major brand and the compatible ones stands a version.
    Ok(codes.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, code)| *code).collect())
}

/// Type and length of the box that starts here; the reader then stands at its body.
fn box_header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<(Code, u64), InspectError> {
    let size = u32::from_be_bytes(source.array()?);
    let code = source.array()?;
    let body = match size {
        0 => Some(source.left()?),
        1 => u64::from_be_bytes(source.array()?).checked_sub(16),
        size => u64::from(size).checked_sub(8),
    };
    Ok((code, body.ok_or_else(|| cut(code))?))
}

/// The boxes in a body, up to the first that is not all there.
pub(in crate::pipeline) fn children(body: &[u8]) -> impl Iterator<Item = (Code, &[u8])> {
    let mut fields = BoxFields(body);
    std::iter::from_fn(move || {
        let size = fields.u32()?;
        let code = fields.array()?;
        let length = match size {
            0 => fields.0.len(),
            1 => usize::try_from(fields.uint(8)?).ok()?.checked_sub(16)?,
            size => usize::try_from(size).ok()?.checked_sub(8)?,
        };
        Some((code, fields.take(length)?))
    })
}

/// Big-endian fields, one after the other; `None` behind the end.
pub(in crate::pipeline) struct BoxFields<'a>(pub(in crate::pipeline) &'a [u8]);

impl<'a> BoxFields<'a> {
    pub(in crate::pipeline) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(in crate::pipeline) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(in crate::pipeline) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(in crate::pipeline) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(in crate::pipeline) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// An integer of 0 to 8 bytes.
    fn uint(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// An item's number, in 16 or 32 bits.
    fn id(&mut self, wide: bool) -> Option<u32> {
        if wide { self.u32() } else { self.u16().map(u32::from) }
    }

    /// A full box's version and flags.
    fn version(&mut self) -> Option<(u8, u32)> {
        let [version, f2, f1, f0] = self.array()?;
        Some((version, u32::from_be_bytes([0, f2, f1, f0])))
    }
}

fn primary(body: &[u8]) -> Option<u32> {
    let mut fields = BoxFields(body);
    let (version, _) = fields.version()?;
    fields.id(version > 0)
}

fn kinds(body: &[u8]) -> Option<BTreeMap<u32, Code>> {
    let mut fields = BoxFields(body);
    let (version, _) = fields.version()?;
    fields.id(version > 0)?;
    let entries = children(fields.0).filter(|(code, _)| code == b"infe").filter_map(|(_, body)| {
        let mut fields = BoxFields(body);
        let (version, _) = fields.version()?;
        let id = fields.id(version > 2)?;
        fields.u16()?;
        // Older entries have no type and describe no image.
        (version >= 2).then_some((id, fields.array()?))
    });
    Some(entries.collect())
}

fn extents(body: &[u8], idat: &Range<u64>) -> Result<BTreeMap<u32, Vec<Range<u64>>>, InspectError> {
    let mut fields = BoxFields(body);
    let head = |fields: &mut BoxFields| {
        let (version, _) = fields.version()?;
        let [lengths, more] = fields.array()?;
        Some((version, lengths, more, fields.id(version >= 2)?))
    };
    let (version, lengths, more, count) = head(&mut fields).ok_or_else(|| cut(*b"iloc"))?;
    let sizes = [lengths >> 4, lengths & 15, more >> 4, if version == 0 { 0 } else { more & 15 }].map(usize::from);
    if version > 2 || sizes.iter().any(|size| !matches!(size, 0 | 4 | 8)) {
        return Err(InspectError::damaged("its `iloc` box is none that can be read"));
    }
    let (mut found, mut total) = (BTreeMap::new(), 0);
    for _ in 0..count {
        let (id, method, parts, base) = item_head(&mut fields, version, sizes[2]).ok_or_else(|| cut(*b"iloc"))?;
        total += usize::from(parts);
        if total > EXTENTS_MAX {
            return Err(InspectError::damaged("its items are in too many parts"));
        }
        let mut ranges = Vec::new();
        for _ in 0..parts {
            let range = extent(&mut fields, &sizes, base).ok_or_else(|| cut(*b"iloc"))?;
            match method {
                0 => ranges.push(range),
                // Clamped, so that it is seen as missing and not read from what follows.
                1 => ranges.push(within(&range, idat)),
                // Out of another item: no image that is known does this.
                _ => ranges.push(u64::MAX - 1..u64::MAX),
            }
        }
        found.insert(id, ranges);
    }
    Ok(found)
}

/// An item's number, construction method, count of extents, and base offset.
fn item_head(fields: &mut BoxFields, version: u8, base_size: usize) -> Option<(u32, u16, u16, u64)> {
    let id = fields.id(version >= 2)?;
    let method = if version == 0 { 0 } else { fields.u16()? & 15 };
    fields.u16()?;
    let base = fields.uint(base_size)?;
    Some((id, method, fields.u16()?, base))
}

fn extent(fields: &mut BoxFields, [offset, length, _, index]: &[usize; 4], base: u64) -> Option<Range<u64>> {
    fields.uint(*index)?;
    let start = base.checked_add(fields.uint(*offset)?)?;
    let length = fields.uint(*length)?;
    // No length means up to the end.
    Some(start..if length == 0 { u64::MAX } else { start.checked_add(length)? })
}

fn within(range: &Range<u64>, idat: &Range<u64>) -> Range<u64> {
    let start = idat.start.saturating_add(range.start);
    let end = if range.end == u64::MAX { idat.end } else { idat.start.saturating_add(range.end) };
    if end > idat.end { u64::MAX - 1..u64::MAX } else { start..end }
}

fn associate(body: &[u8], associations: &mut BTreeMap<u32, Vec<(usize, bool)>>) -> Option<()> {
    let mut fields = BoxFields(body);
    let (version, flags) = fields.version()?;
    for _ in 0..fields.u32()? {
        let id = fields.id(version > 0)?;
        let count = fields.u8()?;
        let mut indices = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let (index, essential) = if flags & 1 == 1 {
                let field = fields.u16()?;
                (field & 0x7FFF, field >> 15 == 1)
            } else {
                let field = u16::from(fields.u8()?);
                (field & 0x7F, field >> 7 == 1)
            };
            // They count from 1; 0 is none.
            if let Some(index) = usize::from(index).checked_sub(1) {
                indices.push((index, essential));
            }
        }
        associations.entry(id).or_insert(indices);
    }
    Some(())
}

fn references(body: &[u8]) -> Option<Vec<(Code, u32, Vec<u32>)>> {
    let mut fields = BoxFields(body);
    let (version, _) = fields.version()?;
    children(fields.0)
        .map(|(code, body)| {
            let mut fields = BoxFields(body);
            let from = fields.id(version > 0)?;
            let to = (0..fields.u16()?).map(|_| fields.id(version > 0)).collect::<Option<_>>()?;
            Some((code, from, to))
        })
        .collect()
}

fn cut(code: Code) -> InspectError {
    InspectError::damaged(format!("its {} is cut short", name(code)))
}

fn name(code: Code) -> String {
    format!("`{}` box", code.escape_ascii())
}
