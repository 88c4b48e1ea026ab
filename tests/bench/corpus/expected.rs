//! What each odd file of the corpus should come to.

use std::fmt;
use std::path::Path;

/// What a file should come to.
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

/// By the end of the path; everything else is to be right.
const ODD: [(&str, Expected); 3] = [
    (".ico", Expected::Refused("no input format")),
    (".bad_ico", Expected::Refused("no input format")),
    (".bad_bmp", Expected::Either("a damaged header that some take for what it means")),
];

pub(crate) fn expectation(file: &Path) -> Expected {
    let path = file.to_string_lossy();
    let found = ODD.iter().find(|(end, _)| path.ends_with(end)).map(|(_, expected)| expected);
    match found {
        None => Expected::Right,
        Some(Expected::Right) => Expected::Right,
        Some(Expected::Differs(why)) => Expected::Differs(why),
        Some(Expected::Refused(why)) => Expected::Refused(why),
        Some(Expected::Either(why)) => Expected::Either(why),
    }
}
