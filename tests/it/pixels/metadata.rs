//! What files say besides pixels.

use pixerve::job::Format;

use super::orientation::with_exif;
use super::picture::{jpeg, photo, render, variant};

#[test]
fn where_a_picture_was_taken_never_leaves() {
    let secret = b"N 52 31 12 E 13 24 36 SERIAL-0815";
    let source = with_exif(&jpeg(&photo(32, 24)), secret);
    assert!(source.windows(secret.len()).any(|w| w == secret));
    for format in Format::ALL {
        let rendered = render(&source, &[variant(format, 0, 0)]).expect("a good source").remove(0);
        assert!(!rendered.bytes.windows(11).any(|w| w == b"SERIAL-0815"), "{format}");
    }
}
