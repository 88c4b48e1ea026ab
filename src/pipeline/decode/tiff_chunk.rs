//! A TIFF's strips and tiles, as bytes of samples, row by row.

use std::borrow::Cow;
use std::io::{self, Cursor, Read};

use flate2::read::ZlibDecoder;
use weezl::{BitOrder, LzwStatus, decode};

use super::fax::FaxRows;
use super::jpeg;
use crate::pipeline::PipelineError;
use crate::pipeline::container::jpeg::Jpeg;
use crate::pipeline::inspect::{Compression, Meaning, TiffPage};
use crate::pipeline::raster::{Model, Raster, Samples};

/// What opens a page's strips and tiles.
pub(super) struct Chunks<'a> {
    pub(super) page: &'a TiffPage,
    /// Tables that all JPEGs of a page share.
    pub(super) jpeg_tables: Option<Vec<u8>>,
    pub(super) tolerant: bool,
}

impl Chunks<'_> {
    /// Bytes of a row of a strip or tile.
    pub(super) fn row_bytes(&self) -> usize {
        let page = self.page;
        let samples = page.chunk.0 as usize * if page.planar { 1 } else { page.samples };
        (samples * usize::from(page.bits)).div_ceil(8)
    }

    /// Hands out the bytes of a strip or tile of `rows` rows that begins where `data` does, as they were before they were
    /// compressed; `data` may go on behind it.
    pub(super) fn open<'a>(&self, data: &'a [u8], rows: u32) -> Result<Box<dyn Read + 'a>, PipelineError> {
        let page = self.page;
        // No compression makes more of anything. One that claims to is not looked at to its end, again and again.
        let most = (self.row_bytes() * rows as usize).saturating_mul(16).saturating_add(64 * 1024);
        let data = &data[..data.len().min(most)];
        // A JPEG's bits are in its own order.
        if page.compression == Compression::Jpeg {
            return Ok(Box::new(Cursor::new(self.jpeg(data, rows)?)));
        }
        let data = if page.reversed {
            Cow::Owned(data.iter().map(|byte| byte.reverse_bits()).collect())
        } else {
            Cow::Borrowed(data)
        };
        Ok(match page.compression {
            Compression::None | Compression::Jpeg => Box::new(Cursor::new(data)),
            Compression::Deflate => Box::new(ZlibDecoder::new(Cursor::new(data))),
            Compression::PackBits => Box::new(PackBits { data: Cursor::new(data), left: Run::Header }),
            Compression::Lzw => Box::new(Lzw::new(data)),
            Compression::Fax(kind) => Box::new(FaxRows::new(data, kind, page.chunk.0)),
        })
    }

    /// The samples of a JPEG that is a strip or tile, as they are stored but for YCbCr, which becomes RGB.
    fn jpeg(&self, data: &[u8], rows: u32) -> Result<Vec<u8>, PipelineError> {
        let page = self.page;
        let components = if page.planar { 1 } else { page.samples };
        let file = self.whole_jpeg(data);
        let structure = Jpeg::of(&file);
        let frame = structure.frame.as_ref().ok_or_else(|| PipelineError::bad_image("a JPEG in it has no frame"))?;
        // It has a header of its own, which may be wrong, and the decoder takes the memory that that asks for.
        let (across, down) = (page.chunk.0, page.chunk.1.max(16));
        if frame.width != across || frame.height > down || frame.components.len() != components {
            return Err(PipelineError::bad_image("a JPEG in it has another size than its strip or tile"));
        }
        if frame.height < rows && !self.tolerant {
            return Err(PipelineError::bad_image("a JPEG in it has fewer rows than its strip or tile"));
        }
        jpeg::check_effort(&structure)?;
        let Raster { model, samples, .. } = jpeg::decode(&file, self.tolerant)?.raster;
        let Samples::U8(mut samples) = samples else {
            return Err(PipelineError::bad_image("a JPEG in it is too deep"));
        };
        if model == Model::Cmyk {
            // Four components pass for inverted ink.
            for sample in &mut samples {
                *sample = 255 - *sample;
            }
        }
        Ok(samples)
    }

    /// A strip or tile with the tables that it leaves out, and with a marker that says how its colours are stored, which
    /// is the TIFF's to say.
    fn whole_jpeg(&self, data: &[u8]) -> Vec<u8> {
        let transform = u8::from(self.page.meaning == Meaning::YCbCr);
        let mut file = b"\xFF\xD8\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0".to_vec();
        file.push(transform);
        let tables =
            self.jpeg_tables.as_deref().and_then(|tables| tables.strip_prefix(b"\xFF\xD8")).unwrap_or_default();
        file.extend(tables.strip_suffix(b"\xFF\xD9").unwrap_or(tables));
        let mut rest = data.strip_prefix(b"\xFF\xD8").unwrap_or(data);
        while let [0xFF, 0xE0..=0xEF, high, low, ..] = rest {
            let length = 2 + usize::from(u16::from_be_bytes([*high, *low]));
            rest = rest.get(length..).unwrap_or_default();
        }
        file.extend(rest);
        file
    }
}

/// LZW, the usual kind and that of the first TIFFs.
struct Lzw<'a> {
    data: Cow<'a, [u8]>,
    at: usize,
    decoder: decode::Decoder,
}

impl<'a> Lzw<'a> {
    fn new(data: Cow<'a, [u8]>) -> Self {
        // Either begins with the code that clears the table.
        let is_old = matches!(&data[..], [0, second, ..] if second & 1 == 1);
        let configuration = if is_old {
            decode::Configuration::new(BitOrder::Lsb, 8)
        } else {
            decode::Configuration::with_tiff_size_switch(BitOrder::Msb, 8)
        };
        Self { data, at: 0, decoder: configuration.with_yield_on_full_buffer(true).build() }
    }
}

impl Read for Lzw<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        // A code that clears the table is no progress to the decoder, if it had read it before.
        let mut idle = 0;
        loop {
            let result = self.decoder.decode_bytes(&self.data[self.at..], into);
            self.at += result.consumed_in;
            match result.status {
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                Ok(_) if result.consumed_out > 0 => return Ok(result.consumed_out),
                Ok(LzwStatus::Done) => return Ok(0),
                Ok(LzwStatus::NoProgress) if idle > 1 => return Ok(0),
                Ok(LzwStatus::NoProgress) => idle += 1,
                Ok(LzwStatus::Ok) => {}
            }
        }
    }
}

/// `PackBits`: a byte that says what follows, literal bytes or one to repeat.
struct PackBits<'a> {
    data: Cursor<Cow<'a, [u8]>>,
    left: Run,
}

/// What of a run is still to come.
enum Run {
    Header,
    Literal(usize),
    Repeat(u8, usize),
}

impl PackBits<'_> {
    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.data.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

impl Read for PackBits<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.left {
                Run::Header => {
                    let header = self.byte()?;
                    self.left = match header {
                        0..=127 => Run::Literal(usize::from(header) + 1),
                        128 => Run::Header,
                        _ => Run::Repeat(self.byte()?, 257 - usize::from(header)),
                    };
                }
                Run::Literal(0) | Run::Repeat(_, 0) => self.left = Run::Header,
                Run::Literal(left) => {
                    let count = left.min(into.len());
                    let read = self.data.read(&mut into[..count])?;
                    self.left = Run::Literal(left - read);
                    return Ok(read);
                }
                Run::Repeat(byte, left) => {
                    let count = left.min(into.len());
                    into[..count].fill(byte);
                    self.left = Run::Repeat(byte, left - count);
                    return Ok(count);
                }
            }
        }
    }
}
