//! What files say besides pixels.

use exif::{In, Reader, Tag};
use pixerve::job::{Format, VariantSpec};
use tiff::encoder::{TiffEncoder, colortype};

use super::orientation::with_exif;
use super::picture::{assert_like, decode, jpeg, photo, psnr_min, render, variant};

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

/// An EXIF block with an artist, a copyright, a camera's serial number and a pointer to where it was.
fn exif() -> Vec<u8> {
    let fields: [(u16, &[u8]); 4] = [
        (0x010F, b"SERIAL-0815 camera\0"),
        (0x013B, b"Ada Lovelace\0"),
        (0x8298, b"(c) 1843 A. Lovelace\0Editor\0"),
        (0x9C9B, b"GPS 52.5 13.4 SERIAL-0815\0"),
    ];
    let mut block = b"II\x2A\0\x08\0\0\0\x04\0".to_vec();
    let mut values: Vec<u8> = Vec::new();
    for (tag, text) in fields {
        block.extend(tag.to_le_bytes());
        block.extend([2, 0]);
        block.extend((text.len() as u32).to_le_bytes());
        block.extend((8 + 2 + 4 * 12 + 4 + values.len() as u32).to_le_bytes());
        values.extend(text);
    }
    block.extend([0; 4]);
    block.extend(values);
    block
}

/// (artist, copyright) of a variant, and how many fields it has.
fn credits(bytes: &[u8]) -> (String, String, usize) {
    let exif = Reader::new().read_from_container(&mut std::io::Cursor::new(bytes)).expect("EXIF");
    let text = |tag| match &exif.get_field(tag, In::PRIMARY).expect("the field").value {
        exif::Value::Ascii(parts) => String::from_utf8(parts[0].clone()).expect("text"),
        other => panic!("{other:?}"),
    };
    (text(Tag::Artist), text(Tag::Copyright), exif.fields().count())
}

#[test]
fn artist_and_copyright_stay_and_nothing_else_does() {
    let picture = photo(96, 64);
    let source = with_exif(&jpeg(&picture), &exif());
    let lossless = VariantSpec { quality: Some(100), ..variant(Format::Webp, 0, 0) };
    for spec in [variant(Format::Jpeg, 0, 0), variant(Format::Png, 0, 0), variant(Format::Webp, 0, 0), lossless] {
        let rendered = render(&source, std::slice::from_ref(&spec)).expect("a good source").remove(0);
        let expected = ("Ada Lovelace".to_owned(), "(c) 1843 A. Lovelace; Editor".to_owned(), 2);
        assert_eq!(credits(&rendered.bytes), expected, "{}", spec.format);
        assert!(!rendered.bytes.windows(11).any(|w| w == b"SERIAL-0815"), "{}", spec.format);
        let what = format!("{} with credits", spec.format);
        assert_like(&what, &decode(spec.format, &rendered.bytes), &picture, psnr_min(spec.format));
    }
}

#[test]
fn a_tiff_names_its_artist_in_its_own_tags() {
    let mut source = std::io::Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut source).expect("a header");
    let mut page = encoder.new_image::<colortype::Gray8>(4, 4).expect("a page");
    page.encoder().write_tag(tiff::tags::Tag::Artist, "Ada").expect("a tag");
    page.encoder().write_tag(tiff::tags::Tag::Unknown(0x8298), "hers").expect("a tag");
    page.write_data(&[9; 16]).expect("pixels");
    let rendered = render(&source.into_inner(), &[variant(Format::Png, 0, 0)]).expect("a good source").remove(0);
    assert_eq!(credits(&rendered.bytes), ("Ada".to_owned(), "hers".to_owned(), 2));
}

#[test]
fn a_webp_with_credits_keeps_its_alpha() {
    let picture = image::RgbaImage::from_fn(15, 11, |x, y| image::Rgba([200, 90, 30, (x * 10 + y) as u8]));
    let mut source = Vec::new();
    let mut encoder = png::Encoder::new(&mut source, 15, 11);
    encoder.set_color(png::ColorType::Rgba);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_chunk(png::chunk::ChunkType(*b"eXIf"), &exif()).expect("a chunk");
    writer.write_image_data(&picture).expect("pixels");
    writer.finish().expect("an end");
    for quality in [100, 95] {
        let spec = VariantSpec { quality: Some(quality), ..variant(Format::Webp, 0, 0) };
        let rendered = render(&source, &[spec]).expect("a good source").remove(0);
        assert_eq!(credits(&rendered.bytes).0, "Ada Lovelace");
        let ours = decode(Format::Webp, &rendered.bytes);
        assert!(ours.pixels().zip(picture.pixels()).all(|(a, b)| a[3] == b[3]), "quality {quality}");
        let libwebp = webp::Decoder::new(&rendered.bytes).decode().expect("libwebp reads it too");
        assert!(libwebp.is_alpha());
    }
}
