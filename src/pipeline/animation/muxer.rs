//! Animated WebP, a frame at a time: libwebp encodes the pictures, the container around them is written here.
//!
//! That keeps one frame in memory instead of all, lets frames be encoded side by side, and keeps every frame and its
//! duration, which libwebp's own animation encoder merges and averages.

use std::io::Cursor;

use crate::encoder::{EncodeError, EncodeSettings, Encoder, Picture, Pixels, Webp};
use crate::job::Format;
use crate::pipeline::container::{BoundedReader, riff};

/// The rectangle of the canvas that a frame changes, and what it shows there from now on.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Pixels from the left edge; even.
    pub(super) left: u32,
    /// Pixels from the top edge; even.
    pub(super) top: u32,
    /// The new pixels. They replace what was there, transparent ones included.
    pub(super) picture: Picture,
    /// How long the frame shows, in milliseconds.
    pub(super) duration_ms: u32,
}

impl Frame {
    /// What is different in `now` from `before`: the smallest rectangle that can be stored. A frame that changes
    /// nothing still has a duration, so it becomes a rectangle of one pixel.
    ///
    /// Both are `width` x `height` pixels of R, G, B, A.
    pub(super) fn difference(before: Option<&[u8]>, now: &[u8], width: u32, height: u32, duration_ms: u32) -> Self {
        let (left, top, right, bottom) = match before {
            Some(before) => changed(before, now, width as usize),
            None => (0, 0, width as usize, height as usize),
        };
        // The file counts positions in steps of two pixels.
        let (left, top) = (left & !1, top & !1);
        let stride = width as usize * 4;
        let pixels: Vec<u8> =
            (top..bottom).flat_map(|y| &now[y * stride + left * 4..y * stride + right * 4]).copied().collect();
        let opaque = pixels.chunks_exact(4).all(|p| p[3] == 255);
        let pixels = if opaque {
            Pixels::Rgb(pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect())
        } else {
            Pixels::Rgba(pixels)
        };
        let side = |from: usize, to: usize| u32::try_from(to - from).unwrap_or(u32::MAX);
        let picture = Picture { width: side(left, right), height: side(top, bottom), pixels };
        Self { left: side(0, left), top: side(0, top), picture, duration_ms }
    }

    /// The frame's chunk of the file, encoded.
    ///
    /// # Errors
    /// If libwebp refuses the picture.
    pub(super) fn encode(&self, settings: EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        let still = Webp.encode(&self.picture, &settings)?;
        let mut payload = Vec::with_capacity(still.len() + 16);
        payload.extend(u24(self.left / 2));
        payload.extend(u24(self.top / 2));
        payload.extend(u24(self.picture.width - 1));
        payload.extend(u24(self.picture.height - 1));
        payload.extend(u24(self.duration_ms));
        // Don't blend: the pixels replace the canvas; don't dispose: they stay for the next frame.
        payload.push(0b10);
        let cut = || EncodeError::new(Format::Webp, &self.picture, "libwebp wrote a chunk that isn't all there");
        let mut file = BoundedReader::new(Cursor::new(&still[..])).map_err(|_| cut())?;
        for riff::RiffChunk { id, data } in riff::chunks(&mut file) {
            if matches!(&id, b"ALPH" | b"VP8 " | b"VP8L") {
                let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                push_chunk(&mut payload, id, still.get(within(data.start)..within(data.end)).ok_or_else(cut)?);
            }
        }
        Ok(payload)
    }
}

/// (left, top, right, bottom) of what differs; one pixel if nothing does.
fn changed(before: &[u8], now: &[u8], width: usize) -> (usize, usize, usize, usize) {
    let (mut left, mut right, mut top, mut bottom) = (width, 0, usize::MAX, 0);
    let rows = before.chunks_exact(width * 4).zip(now.chunks_exact(width * 4));
    for (y, (a, b)) in rows.enumerate().filter(|(_, (a, b))| a != b) {
        let differs = |x: &usize| a[x * 4..x * 4 + 4] != b[x * 4..x * 4 + 4];
        left = (0..width).find(differs).map_or(left, |x| x.min(left));
        right = (0..width).rev().find(differs).map_or(right, |x| (x + 1).max(right));
        top = top.min(y);
        bottom = y + 1;
    }
    if bottom == 0 { (0, 0, 1, 1) } else { (left, top, right, bottom) }
}

/// A file under construction.
#[derive(Debug)]
pub(super) struct AnimatedWebp {
    width: u32,
    height: u32,
    plays: u16,
    alpha: bool,
    frames: Vec<u8>,
    count: usize,
}

impl AnimatedWebp {
    /// An empty animation on a canvas of `width` x `height` pixels that is shown `plays` times, 0 for ever.
    pub(super) fn new(width: u32, height: u32, plays: u16) -> Self {
        Self { width, height, plays, alpha: false, frames: Vec::new(), count: 0 }
    }

    /// Appends a frame that [`Frame::encode`] made.
    pub(super) fn push(&mut self, frame: &Frame, encoded: &[u8]) {
        self.alpha |= matches!(frame.picture.pixels, Pixels::Rgba(_));
        push_chunk(&mut self.frames, *b"ANMF", encoded);
        self.count += 1;
    }

    /// The whole file.
    ///
    /// # Errors
    /// If it holds no frame, the canvas is larger than the format allows, or it has 4 GiB.
    pub(super) fn finish(self) -> Result<Vec<u8>, EncodeError> {
        let error = |detail: &str| EncodeError {
            format: Format::Webp,
            width: self.width,
            height: self.height,
            detail: detail.to_owned(),
        };
        let side_max = Format::Webp.info().side_max;
        if self.count == 0 || self.width > side_max || self.height > side_max || self.width == 0 || self.height == 0 {
            return Err(error("an animation needs a frame, and sides of 1 to 16,383 pixels"));
        }
        let mut body = b"WEBP".to_vec();
        let mut header = vec![0b10 | if self.alpha { 0b1_0000 } else { 0 }, 0, 0, 0];
        header.extend(u24(self.width - 1));
        header.extend(u24(self.height - 1));
        push_chunk(&mut body, *b"VP8X", &header);
        let mut animation = vec![0; 4];
        animation.extend(self.plays.to_le_bytes());
        push_chunk(&mut body, *b"ANIM", &animation);
        body.extend(self.frames.iter());
        let size = u32::try_from(body.len()).map_err(|_| error("it has more than 4 GiB"))?;
        let mut file = b"RIFF".to_vec();
        file.extend(size.to_le_bytes());
        file.append(&mut body);
        Ok(file)
    }
}

/// The three low bytes, little end first; what doesn't fit becomes the largest number that does.
fn u24(number: u32) -> [u8; 3] {
    let [a, b, c, _] = number.min(0xFF_FFFF).to_le_bytes();
    [a, b, c]
}

fn push_chunk(into: &mut Vec<u8>, id: [u8; 4], payload: &[u8]) {
    into.extend(id);
    into.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    into.extend(payload);
    if payload.len() % 2 == 1 {
        into.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_stores_only_what_changed() {
        let before = vec![9; 10 * 8 * 4];
        let mut now = before.clone();
        for (x, y) in [(5, 3), (7, 6)] {
            now[(y * 10 + x) * 4] = 200;
        }
        let frame = Frame::difference(Some(&before), &now, 10, 8, 40);
        assert_eq!((frame.left, frame.top, frame.picture.width, frame.picture.height), (4, 2, 4, 5));
        let same = Frame::difference(Some(&now), &now, 10, 8, 40);
        assert_eq!((same.picture.width, same.picture.height), (1, 1));
    }
}
