//! What each odd file of the corpus should come to.

use std::fmt;
use std::path::Path;

/// What a file should come to.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// The reference's picture, where there is one.
    Right,
    /// A picture, but for this reason not the reference's.
    Differs(&'static str),
    /// A clear refusal, for this reason.
    Refused(&'static str),
    /// Either will do, for this reason.
    Either(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right => write!(f, "right"),
            Self::Differs(why) => write!(f, "right; libvips differs: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Either(why) => write!(f, "right or refused: {why}"),
        }
    }
}

use Expected::{Differs, Either, Refused};

const PNGSUITE: &str = "damaged on purpose";

/// By the end of the path; everything else is to be right.
const ODD: [(&str, Expected); 29] = [
    (".ico", Refused("no input format")),
    (".bad_ico", Refused("no input format")),
    (".avif", Either("where AVIF can be read")),
    (".bad_bmp", Either("a damaged header that some take for what it means")),
    ("CMYK_color_no_profile.jpg", Differs("it takes another printer for the usual one")),
    ("border_touching_layers.gif", Differs("black where the first frame leaves the screen empty")),
    ("oob.gif", Differs("it makes the screen larger for a frame that sticks out")),
    ("issue_1455_oversized.gif", Differs("it makes the screen larger for a frame that sticks out")),
    ("xc1n0g08.png", Refused(PNGSUITE)),
    ("xc9n2c08.png", Refused(PNGSUITE)),
    ("xcrn0g04.png", Refused("line ends converted")),
    ("xcsn0g01.png", Refused(PNGSUITE)),
    ("xd0n2c08.png", Refused(PNGSUITE)),
    ("xd3n2c08.png", Refused(PNGSUITE)),
    ("xd9n2c08.png", Refused(PNGSUITE)),
    ("xdtn0g01.png", Refused(PNGSUITE)),
    ("xhdn0g08.png", Refused(PNGSUITE)),
    ("xlfn0g04.png", Refused("line ends converted")),
    ("xs1n0g01.png", Refused(PNGSUITE)),
    ("xs2n0g01.png", Refused(PNGSUITE)),
    ("xs4n0g01.png", Refused(PNGSUITE)),
    ("xs7n0g01.png", Refused(PNGSUITE)),
    ("65536-uint32-limit.png", Refused("65536 x 65536")),
    ("corrupt-header.jpg", Refused("no header")),
    ("exif-corrupted.jpg", Refused("its data ends early; libjpeg says so too")),
    ("giant-image.jpg", Refused("280 MP")),
    ("truncated.jpg", Refused("truncated")),
    ("truncated.png", Refused("truncated")),
    ("pal8badindex.bmp", Either("indices beyond the palette")),
];

pub(crate) fn expectation(file: &Path) -> Expected {
    let path = file.to_string_lossy();
    let found = ODD.iter().find(|(end, _)| path.ends_with(end)).map(|(_, expected)| expected);
    found.copied().unwrap_or(Expected::Right)
}
