//! Cropping, turning and mirroring as properties of an item (`clap`, `irot`, `imir`; ISO/IEC 23008-12, 6.5).

use image::metadata::Orientation;

use crate::pipeline::Region;
use crate::pipeline::container::isobmff::{BoxFields, Code};
use crate::pipeline::orient::{stored_region, swaps_sides};

/// What of a stored picture is shown, and how it is turned for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Placement {
    /// Left, top, width and height, on the stored picture.
    pub(in crate::pipeline) window: (u32, u32, u32, u32),
    /// Whether left and right change places first.
    mirrored: bool,
    /// Quarter turns clockwise, 0 to 3, after that.
    turns: u8,
}

impl Placement {
    /// A picture that is shown as it is stored.
    pub(in crate::pipeline) fn whole((width, height): (u32, u32)) -> Self {
        Self { window: (0, 0, width, height), mirrored: false, turns: 0 }
    }

    /// The same as one of EXIF's eight.
    pub(in crate::pipeline) fn orientation(&self) -> Orientation {
        match (self.mirrored, self.turns) {
            (false, 0) => Orientation::NoTransforms,
            (false, 1) => Orientation::Rotate90,
            (false, 2) => Orientation::Rotate180,
            (false, _) => Orientation::Rotate270,
            (true, 0) => Orientation::FlipHorizontal,
            (true, 1) => Orientation::Rotate270FlipH,
            (true, 2) => Orientation::FlipVertical,
            (true, _) => Orientation::Rotate90FlipH,
        }
    }

    /// Follows one more property, if it is one of these; `None` if it makes no sense.
    pub(super) fn apply(&mut self, code: Code, body: &[u8]) -> Option<()> {
        match &code {
            // Quarter turns, anticlockwise.
            b"irot" => self.turns = (self.turns + 4 - (body.first()? & 3)) % 4,
            // 0: top and bottom change places; 1: left and right do.
            b"imir" => {
                let upside_down = if body.first()? & 1 == 0 { 2 } else { 0 };
                // A mirror after turning is a mirror before turning the other way.
                self.turns = (4 - self.turns + upside_down) % 4;
                self.mirrored = !self.mirrored;
            }
            b"clap" => self.crop(body)?,
            _ => {}
        }
        Some(())
    }

    /// Keeps the clean aperture: so wide and high, its centre so far from the picture's.
    fn crop(&mut self, body: &[u8]) -> Option<()> {
        let mut fields = BoxFields(body);
        let mut fraction = || Some((i64::from(fields.u32()?.cast_signed()), i64::from(fields.u32()?)));
        let (width, height, right, down) = (fraction()?, fraction()?, fraction()?, fraction()?);
        let (left, top, old_width, old_height) = self.window;
        // On the sides as they are shown by now.
        let turned = swaps_sides(self.orientation());
        let (across, along) = if turned { (old_height, old_width) } else { (old_width, old_height) };
        let ((x, width), (y, height)) = (part(across, width, right)?, part(along, height, down)?);
        let [x, y, width, height] = [x, y, width, height].map(f64::from);
        let stored = stored_region(Region { x, y, width, height }, old_width, old_height, self.orientation());
        let [x, y, width, height] = [stored.x, stored.y, stored.width, stored.height].map(whole);
        self.window = (left + x, top + y, width, height);
        Some(())
    }
}

/// Offset and length of the aperture along a side of `whole` pixels. Fractions are of whole pixels, rounded.
fn part(whole: u32, (length, over): (i64, i64), (offset, under): (i64, i64)) -> Option<(u32, u32)> {
    let whole = i64::from(whole);
    if over <= 0 || under <= 0 || length <= 0 {
        return None;
    }
    let length = (length + over / 2) / over;
    // The centre is (whole - 1) / 2 + offset; the first pixel lies (length - 1) / 2 before it.
    let twice = (whole - length) + (2 * offset).div_euclid(under);
    let start = twice.div_euclid(2);
    let fits = length > 0 && start >= 0 && start + length <= whole;
    fits.then_some((u32::try_from(start).ok()?, u32::try_from(length).ok()?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made of u32, within the picture's sides")]
fn whole(side: f64) -> u32 {
    side as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `clap` of whole pixels.
    fn clap(width: u32, height: u32, right: i32, down: i32) -> Vec<u8> {
        let fractions = [width, 1, height, 1, right.cast_unsigned(), 2, down.cast_unsigned(), 2];
        fractions.iter().flat_map(|field| field.to_be_bytes()).collect()
    }

    #[test]
    fn turns_and_mirrors_add_up_in_their_order() {
        let orientation = |steps: &[(Code, u8)]| {
            let mut placement = Placement::whole((4, 3));
            for (code, body) in steps {
                placement.apply(*code, &[*body]).expect("a byte");
            }
            placement.orientation()
        };
        assert_eq!(orientation(&[(*b"irot", 1)]), Orientation::Rotate270);
        assert_eq!(orientation(&[(*b"irot", 3)]), Orientation::Rotate90);
        assert_eq!(orientation(&[(*b"imir", 0)]), Orientation::FlipVertical);
        assert_eq!(orientation(&[(*b"imir", 1)]), Orientation::FlipHorizontal);
        assert_eq!(orientation(&[(*b"irot", 3), (*b"imir", 1)]), Orientation::Rotate90FlipH);
        assert_eq!(orientation(&[(*b"imir", 1), (*b"irot", 3)]), Orientation::Rotate270FlipH);
        assert_eq!(orientation(&[(*b"imir", 0), (*b"imir", 1), (*b"irot", 2)]), Orientation::NoTransforms);
    }

    #[test]
    fn an_aperture_lies_about_the_centre() {
        let mut placement = Placement::whole((10, 8));
        placement.apply(*b"clap", &clap(4, 2, 0, 0)).expect("fits");
        assert_eq!(placement.window, (3, 3, 4, 2));
        let mut placement = Placement::whole((10, 8));
        placement.apply(*b"clap", &clap(4, 2, -6, 6)).expect("fits");
        assert_eq!(placement.window, (0, 6, 4, 2));
        for beyond in [clap(4, 2, -8, 0), clap(11, 8, 0, 0), clap(0, 8, 0, 0)] {
            assert_eq!(Placement::whole((10, 8)).apply(*b"clap", &beyond), None);
        }
    }

    #[test]
    fn an_aperture_after_a_turn_is_of_the_turned_picture() {
        let mut placement = Placement::whole((10, 8));
        // Anticlockwise: the stored right side is the top.
        placement.apply(*b"irot", &[1]).expect("a byte");
        placement.apply(*b"clap", &clap(8, 4, 0, -6)).expect("fits");
        assert_eq!(placement.window, (6, 0, 4, 8));
    }
}
