//! The file around AV1 data: written by `avif-serialize`, and looked at again.

use avif_serialize::Aviffy;

/// What a file holds, by its boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents<'a> {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The picture, as AV1.
    colour: &'a [u8],
    /// Its alpha channel, as AV1.
    alpha: Option<&'a [u8]>,
    /// The payload of the picture's `av1C`.
    configuration: &'a [u8],
}

/// A file of width x height pixels, 8 or 10 bits a sample.
#[cfg(feature = "aom")]
pub(super) fn write(
    (width, height): (u32, u32),
    kept: super::planes::Colour,
    ten_bits: bool,
    colour: &[u8],
    alpha: Option<&[u8]>,
) -> Vec<u8> {
    use super::planes::Colour;

    let halved = kept != Colour::Full;
    Aviffy::new()
        // The profile after the first is for 4:4:4 and nothing else.
        .set_seq_profile(u8::from(!halved))
        .set_chroma_subsampling((halved, halved))
        .set_monochrome(kept == Colour::None)
        .to_vec(colour, alpha, width, height, if ten_bits { 10 } else { 8 })
}

impl<'a> Contents<'a> {
    /// What the AVIF `file` holds, if it is one of those that are written here and nothing of it is missing.
    #[must_use]
    pub fn of(file: &'a [u8]) -> Option<Self> {
        if !find(file, *b"ftyp")?.starts_with(b"avif") {
            return None;
        }
        let meta = find(file, *b"meta")?.get(4..)?;
        let properties = find(find(meta, *b"iprp")?, *b"ipco")?;
        let [w3, w2, w1, w0, h3, h2, h1, h0] = *find(properties, *b"ispe")?.get(4..)?.first_chunk()?;
        let locations = find(meta, *b"iloc")?;
        Some(Self {
            width: u32::from_be_bytes([w3, w2, w1, w0]),
            height: u32::from_be_bytes([h3, h2, h1, h0]),
            colour: item(file, locations, 1)?.filter(|data| !data.is_empty())?,
            alpha: item(file, locations, 2)?,
            configuration: find(properties, *b"av1C")?,
        })
    }

    /// The same picture in a file with this EXIF block.
    #[must_use]
    pub fn with_exif(&self, exif: &[u8]) -> Option<Vec<u8>> {
        let [_, profile, flags, _] = *self.configuration.first_chunk()?;
        let depth = match flags >> 5 & 0b11 {
            0b00 => 8,
            0b10 => 10,
            _ => 12,
        };
        let mut writer = Aviffy::new();
        writer
            .set_seq_profile(profile >> 5)
            .set_monochrome(flags >> 4 & 1 == 1)
            .set_chroma_subsampling((flags >> 3 & 1 == 1, flags >> 2 & 1 == 1))
            .set_width(self.width)
            .set_height(self.height)
            .set_bit_depth(depth)
            .set_exif(exif.to_vec());
        let mut file = Vec::new();
        writer.write_slice(&mut file, self.colour, self.alpha).ok()?;
        Some(file)
    }
}

/// The payload of the first box called `id`.
fn find(mut rest: &[u8], id: [u8; 4]) -> Option<&[u8]> {
    loop {
        let size = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let this = rest.get(8..if size == 0 { rest.len() } else { size })?;
        if rest[4..8] == id {
            return Some(this);
        }
        rest = &rest[8 + this.len()..];
    }
}

/// The data of item `wanted`; `Some(None)` if there is no such item, `None` if the table or the data isn't whole.
#[expect(clippy::option_option, reason = "no item and no data are different things")]
fn item<'a>(file: &'a [u8], locations: &[u8], wanted: u16) -> Option<Option<&'a [u8]>> {
    let u16_at = |at: usize| Some(u16::from_be_bytes(*locations.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_be_bytes(*locations.get(at..)?.first_chunk()?) as usize);
    // Version 0, four bytes each for offset and length, no base offset.
    if locations.get(..6)? != [0, 0, 0, 0, 0x44, 0] {
        return None;
    }
    let mut at = 8;
    for _ in 0..u16_at(6)? {
        let (id, extents) = (u16_at(at)?, usize::from(u16_at(at + 4)?));
        if id == wanted {
            let start = u32_at(at + 6)?;
            return (extents == 1).then_some(Some(file.get(start..start.checked_add(u32_at(at + 10)?)?)?));
        }
        at += 6 + 8 * extents;
    }
    Some(None)
}
