//! AVIF and HEIC: which coded pictures make up the picture that the file shows, and how (ISO/IEC 23008-12).
//!
//! Orientation comes from the transforming properties alone. What EXIF says about it is for the camera's own use.

use std::io::{BufRead, Seek};
use std::ops::Range;

use super::assembly::{assembly, check, tiled};
use super::coded::{Assembly, ChromaSubsampling, Codec};
use super::transform::Placement;
use super::{Header, InspectError};
use crate::job::SourceFormat;
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::isobmff::{BoxFields, Code, Items, brands};

/// Brands of files that hold a still picture, or a sequence that shows one.
const BRANDS: [Code; 11] =
    [*b"avif", *b"avis", *b"heic", *b"heix", *b"heim", *b"heis", *b"hevc", *b"hevx", *b"mif1", *b"mif2", *b"msf1"];

/// Pictures that may stand for another (`iden`), one after the other.
const CHAIN_MAX: usize = 8;

/// Items of metadata that are looked at.
const MIME_ITEMS_MAX: usize = 8;

/// Colours by number (ITU-T H.273).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Cicp {
    pub(in crate::pipeline) primaries: u8,
    pub(in crate::pipeline) transfer: u8,
    pub(in crate::pipeline) matrix: u8,
    pub(in crate::pipeline) full_range: bool,
}

/// The picture that a file shows.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Still {
    pub(in crate::pipeline) colour: Assembly,
    pub(in crate::pipeline) alpha: Option<Assembly>,
    /// Whether the colours are multiplied by alpha.
    pub(in crate::pipeline) premultiplied: bool,
    /// What of it is shown, and how that becomes upright.
    pub(in crate::pipeline) placement: Placement,
    /// The colours that the file names; if none, the stream's count.
    pub(in crate::pipeline) cicp: Option<Cicp>,
    pub(in crate::pipeline) icc: Option<Vec<u8>>,
    /// Where the EXIF item's bytes lie in the file.
    pub(in crate::pipeline) exif: Vec<Range<u64>>,
    /// Where those of items lie whose type is one of MIME's, XMP's among them.
    pub(in crate::pipeline) mime: Vec<Vec<Range<u64>>>,
}

pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<(SourceFormat, Header), InspectError> {
    // By its brand, so that a damaged one gets the same error.
    source.seek_to(0)?;
    match brands(source)?.first() {
        Some(b"avif" | b"avis") => Codec::Av1.must_be_readable()?,
        Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx") => Codec::Hevc.must_be_readable()?,
        _ => {}
    }
    let still = Still::read(source)?;
    // A brand says less than the codec of what is shown.
    still.colour.codec.must_be_readable()?;
    let format = still.colour.codec.format();
    let (_, _, width, height) = still.placement.window;
    let mut header = Header::still(width, height, still.channels());
    header.bits = if still.bits() > 8 { 16 } else { 8 };
    header.alpha = Some(still.alpha.is_some());
    header.orientation = still.placement.orientation();
    Ok((format, header))
}

impl Still {
    /// Reads what the file shows, from `ftyp` and `meta` alone.
    pub(super) fn read<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Self, InspectError> {
        source.seek_to(0)?;
        if !brands(source)?.iter().any(|brand| BRANDS.contains(brand)) {
            return Err(InspectError::unsupported("this is a video or another ISO media file, not an image"));
        }
        source.seek_to(0)?;
        let items = Items::read(source)?;
        let chain = chain(&items)?;
        let shown = *chain.last().unwrap_or(&items.primary);
        let colour = assembly(&items, shown, None, source)?;
        let (mut alpha, mut premultiplied) = (None, false);
        if let Some(item) = chain.iter().find_map(|id| alpha_of(&items, *id)) {
            alpha = Some(assembly(&items, item, Some(colour.size), source)?);
            premultiplied = chain.iter().any(|id| items.referred(*id, *b"prem").contains(&item));
        } else if items.kind(shown) == Some(b"grid") {
            // Or each tile has its own.
            let parts: Option<Vec<_>> =
                items.referred(shown, *b"dimg").iter().map(|id| alpha_of(&items, *id)).collect();
            if let Some(parts) = parts {
                alpha = Some(tiled(&items, &parts, colour.columns, colour.size)?);
            }
        }
        check(&colour, alpha.as_ref(), source.length())?;

        // The source's own transforms come before those of what stands for it.
        let mut placement = Placement::whole(colour.size);
        for (code, body, _) in chain.iter().rev().flat_map(|id| items.properties(*id)) {
            placement
                .apply(*code, body)
                .ok_or_else(|| InspectError::damaged("it is cropped or turned in no way there is"))?;
        }
        // Some writers describe the tiles' colours, not the grid's.
        let described = || chain.iter().chain(items.referred(shown, *b"dimg").first());
        let colours = || described().flat_map(|id| items.properties(*id)).filter(|(code, ..)| *code == b"colr");
        let cicp = colours().find_map(|(_, body, _)| nclx(body));
        let icc = colours()
            .find_map(|(_, body, _)| body.strip_prefix(b"prof").or(body.strip_prefix(b"rICC")).map(<[u8]>::to_vec));
        let exif = exif_item(&items, &chain).map_or(Vec::new(), |id| items.extents(id).to_vec());
        let mime = items.of_kind(*b"mime").take(MIME_ITEMS_MAX).map(|id| items.extents(id).to_vec()).collect();
        Ok(Self { colour, alpha, premultiplied, placement, cicp, icc, exif, mime })
    }

    /// Bits a colour sample.
    pub(in crate::pipeline) fn bits(&self) -> u8 {
        self.colour.tiles.first().map_or(8, |tile| tile.stream.bits)
    }

    /// Samples a pixel of the raster: grey stays so unless a profile is for RGB.
    pub(in crate::pipeline) fn channels(&self) -> u8 {
        u8::from(self.alpha.is_some()) + if self.is_grey() { 1 } else { 3 }
    }

    /// Whether there is lightness alone, in the file and in what explains it.
    pub(in crate::pipeline) fn is_grey(&self) -> bool {
        let grey = self.colour.tiles.first().is_some_and(|tile| tile.stream.chroma == ChromaSubsampling::None);
        grey && match &self.icc {
            Some(icc) => icc.get(16..20) == Some(b"GRAY"),
            None => self.cicp.is_none_or(|cicp| matches!(cicp.transfer, 1 | 2 | 6 | 13 | 14 | 15)),
        }
    }

    /// Every stretch of the file that holds samples.
    pub(in crate::pipeline) fn extents(&self) -> impl Iterator<Item = &Range<u64>> {
        let tiles = self.colour.tiles.iter().chain(self.alpha.iter().flat_map(|alpha| &alpha.tiles));
        tiles.flat_map(|tile| &tile.extents)
    }
}

/// The primary item, and what it stands for, to the last.
fn chain(items: &Items) -> Result<Vec<u32>, InspectError> {
    let mut chain = vec![items.primary];
    let mut item = items.primary;
    while items.kind(item) == Some(b"iden") {
        item = *items.referred(item, *b"dimg").first().ok_or_else(|| InspectError::damaged("it shows nothing"))?;
        chain.push(item);
        if chain.len() > CHAIN_MAX {
            return Err(InspectError::damaged("its pictures stand for one another"));
        }
    }
    Ok(chain)
}

fn nclx(body: &[u8]) -> Option<Cicp> {
    let mut fields = BoxFields(body.strip_prefix(b"nclx")?);
    let mut number = || fields.u16().map(|number| u8::try_from(number).unwrap_or(2));
    let (primaries, transfer, matrix) = (number()?, number()?, number()?);
    Some(Cicp { primaries, transfer, matrix, full_range: fields.u8()? >> 7 == 1 })
}

/// The auxiliary picture that is `item`'s alpha.
fn alpha_of(items: &Items, item: u32) -> Option<u32> {
    items.referring(item, *b"auxl").find(|id| {
        let kind = items.property(*id, *b"auxC").and_then(|body| body.get(4..)).unwrap_or_default();
        let kind = kind.split(|byte| *byte == 0).next().unwrap_or_default();
        kind == b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha" || kind == b"urn:mpeg:hevc:2015:auxid:1"
    })
}

fn exif_item(items: &Items, chain: &[u32]) -> Option<u32> {
    let described = |id: &u32| items.referred(*id, *b"cdsc");
    let of_this = |id: &u32| described(id).iter().any(|to| chain.contains(to));
    // Some writers don't say what it describes.
    let found = items.of_kind(*b"Exif").find(of_this);
    found.or_else(|| items.of_kind(*b"Exif").find(|id| described(id).is_empty()))
}
