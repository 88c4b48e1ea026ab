//! Where each format keeps its blocks of metadata.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::ops::Range;

use flate2::read::ZlibDecoder;

use super::{exif, iptc, joined};
use crate::encoder::Credits;
use crate::job::SourceFormat;
use crate::pipeline::container::gif::{GifBlock, GifBlocks};
use crate::pipeline::container::jpeg::segments;
use crate::pipeline::container::png::PngChunks;
use crate::pipeline::container::tiff::{TiffDirectory, tag};
use crate::pipeline::container::{BoundedReader, riff};
use crate::pipeline::decode::gather;
use crate::pipeline::inspect;

/// The largest block that is read; an editor's history in XMP may take some MiB.
const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What ends XMP in a GIF: bytes that lead from wherever a reader of blocks lands to the end.
const GIF_XMP_TRAILER_BYTES: u64 = 257;

/// A file's blocks of metadata.
#[derive(Default)]
pub(super) struct Blocks<'a> {
    pub(super) exif: Vec<Cow<'a, [u8]>>,
    pub(super) xmp: Vec<Cow<'a, [u8]>>,
    pub(super) iptc: Vec<Cow<'a, [u8]>>,
    /// What the format itself has fields for.
    pub(super) named: Credits,
}

impl<'a> Blocks<'a> {
    /// The blocks of `source`; of a file that is damaged, those that can be found.
    pub(super) fn of(source: &'a [u8], format: SourceFormat) -> Self {
        let mut blocks = Self::default();
        let Ok(mut file) = BoundedReader::new(Cursor::new(source)) else { return blocks };
        match format {
            SourceFormat::Jpeg => blocks.jpeg(source),
            SourceFormat::Png => blocks.png(source, &mut file),
            SourceFormat::Webp => blocks.webp(source, &mut file),
            SourceFormat::Gif => blocks.gif(source, &mut file),
            SourceFormat::Tiff => blocks.tiff(&mut file),
            SourceFormat::Avif | SourceFormat::Heic => blocks.items(source),
            SourceFormat::Bmp => {}
        }
        blocks
    }

    fn jpeg(&mut self, source: &'a [u8]) {
        let mut photoshop = Vec::new();
        for (code, segment) in segments(source) {
            if code == 0xE1 && segment.starts_with(b"Exif\0") {
                self.exif.push(Cow::Borrowed(segment.get(6..).unwrap_or_default()));
            } else if let (0xE1, Some(packet)) = (code, segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0")) {
                self.xmp.push(Cow::Borrowed(packet));
            } else if let (0xED, Some(part)) = (code, segment.strip_prefix(b"Photoshop 3.0\0")) {
                // Large resources go on in the next segment.
                photoshop.extend(part);
            }
        }
        self.photoshop(&photoshop);
    }

    fn png(&mut self, source: &'a [u8], file: &mut BoundedReader<Cursor<&'a [u8]>>) {
        for chunk in PngChunks::read(file).chunks {
            let data = within(source, &chunk.data);
            match &chunk.id {
                b"eXIf" => self.exif.push(Cow::Borrowed(data)),
                b"tEXt" | b"zTXt" | b"iTXt" => {
                    if let Some((keyword, text)) = png_text(chunk.id, data) {
                        self.png_text(keyword, text);
                    }
                }
                _ => {}
            }
        }
    }

    fn png_text(&mut self, keyword: &[u8], text: Cow<'a, [u8]>) {
        match keyword {
            b"XML:com.adobe.xmp" => self.xmp.push(text),
            b"Raw profile type xmp" => self.xmp.extend(raw_profile(&text).map(Cow::Owned)),
            b"Raw profile type exif" | b"Raw profile type APP1" => {
                self.exif.extend(raw_profile(&text).map(Cow::Owned));
            }
            b"Raw profile type iptc" => {
                if let Some(profile) = raw_profile(&text) {
                    match iptc::in_photoshop(&profile) {
                        Some(records) => self.iptc.push(Cow::Owned(records.to_vec())),
                        None => self.iptc.push(Cow::Owned(profile)),
                    }
                }
            }
            b"Author" => self.named.artist = joined([text]),
            b"Copyright" => self.named.copyright = joined([text]),
            _ => {}
        }
    }

    fn webp(&mut self, source: &'a [u8], file: &mut BoundedReader<Cursor<&'a [u8]>>) {
        for chunk in riff::chunks(file) {
            let data = Cow::Borrowed(within(source, &chunk.data));
            match &chunk.id {
                b"EXIF" => self.exif.push(data),
                b"XMP " => self.xmp.push(data),
                _ => {}
            }
        }
    }

    fn gif(&mut self, source: &'a [u8], file: &mut BoundedReader<Cursor<&'a [u8]>>) {
        for block in GifBlocks::read(file).map(|found| found.blocks).unwrap_or_default() {
            if let GifBlock::Application(name, data) = block
                && &name == b"XMP DataXMP"
            {
                let end = data.end.saturating_sub(GIF_XMP_TRAILER_BYTES + 1).max(data.start);
                self.xmp.push(Cow::Borrowed(within(source, &(data.start..end))));
            }
        }
    }

    fn tiff(&mut self, file: &mut BoundedReader<Cursor<&'a [u8]>>) {
        let Ok(directory) = TiffDirectory::read(file) else { return };
        self.named = exif::of_directory(&directory, file);
        let mut block = |tag| directory.bytes(file, tag, BLOCK_BYTES_MAX);
        self.xmp.extend(block(tag::XMP).map(Cow::Owned));
        // Some writers count its bytes in fours, and some swap them; either way they are found.
        self.iptc.extend(block(tag::IPTC).map(Cow::Owned));
        let photoshop = block(tag::PHOTOSHOP).unwrap_or_default();
        self.photoshop(&photoshop);
    }

    /// AVIF and HEIC have EXIF as an item: the offset of its header, then itself.
    fn items(&mut self, source: &'a [u8]) {
        let Ok(still) = inspect::still(Cursor::new(source)) else { return };
        let bytes = gather(source, &still.exif);
        if let Some((offset, rest)) = bytes.split_first_chunk::<4>()
            && let Some(exif) = rest.get(u32::from_be_bytes(*offset) as usize..)
        {
            self.exif.push(Cow::Owned(exif.to_vec()));
        }
        self.xmp.extend(still.mime.iter().map(|extents| gather(source, extents)));
    }

    fn photoshop(&mut self, resources: &[u8]) {
        self.iptc.extend(iptc::in_photoshop(resources).map(|records| Cow::Owned(records.to_vec())));
    }
}

/// A stretch of a file, as far as it is there.
fn within<'a>(source: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(source.len());
    source.get(at(range.start)..at(range.end)).unwrap_or_default()
}

/// A chunk of text: its keyword, and what it says.
fn png_text(id: [u8; 4], data: &[u8]) -> Option<(&[u8], Cow<'_, [u8]>)> {
    let (keyword, rest) = split(data)?;
    match &id {
        b"tEXt" => Some((keyword, Cow::Borrowed(rest))),
        // Behind the method of compression, of which there is one.
        b"zTXt" => Some((keyword, Cow::Owned(inflated(rest.get(1..)?)))),
        _ => {
            let ([is_compressed, _], rest) = rest.split_first_chunk::<2>()?;
            let (_language, rest) = split(rest)?;
            let (_keyword, text) = split(rest)?;
            let text = if *is_compressed == 1 { Cow::Owned(inflated(text)) } else { Cow::Borrowed(text) };
            Some((keyword, text))
        }
    }
}

/// What comes before a zero, and behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// What zlib's stream holds, up to damage or to [`BLOCK_BYTES_MAX`].
fn inflated(stream: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = ZlibDecoder::new(stream).take(BLOCK_BYTES_MAX as u64).read_to_end(&mut bytes);
    bytes
}

/// A profile as `ImageMagick` writes it: its name, its length, and its bytes in hexadecimal digits.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let mut fields = text.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let (_name, _length) = (fields.next()?, fields.next()?);
    let digits: Vec<u8> = fields.flatten().copied().collect();
    hex::decode(&digits[..digits.len() / 2 * 2]).ok()
}
