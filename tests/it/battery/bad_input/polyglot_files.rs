//! Pictures that are something else as well.

use std::io::Cursor;

use moxcms::ColorProfile;
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

use super::sources::with_avif;
use crate::harness::app::TestApp;
use crate::harness::picture::photo;

/// In everything that is hidden in a file.
pub(in crate::battery) const MARK: &str = "PWNED-7f3a9c";

/// One of them.
pub(in crate::battery) struct Polyglot {
    pub(in crate::battery) what: &'static str,
    pub(in crate::battery) extension: &'static str,
    pub(in crate::battery) media_type: &'static str,
    pub(in crate::battery) bytes: Vec<u8>,
}

/// Markup and code in one: whoever takes the file for HTML, SVG, PHP or JavaScript runs some of it. It calls `canary()`
/// if there is one, and asks for `/canary`.
fn payload() -> Vec<u8> {
    format!(
        "<html><body><script>/*{MARK}*/try{{canary()}}catch(e){{}}fetch('/canary?script');alert('{MARK}')</script>\
         <img src='/canary?img' onerror='alert(1)'><svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>\
         <?php /*{MARK}*/ system($_GET[0]); ?><a href='javascript:alert(1)'>{MARK}</a></body></html>"
    )
    .into_bytes()
}

/// A ZIP of one stored file.
fn zip() -> Vec<u8> {
    let (name, body) = (MARK.as_bytes(), payload());
    let crc = crc32fast::hash(&body).to_le_bytes();
    let size = u32::try_from(body.len()).expect("short").to_le_bytes();
    let length = u16::try_from(name.len()).expect("short").to_le_bytes();
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &size, &size, &length, &[0, 0]].concat();
    let local = [b"PK\x03\x04", &common[..], name, &body].concat();
    let central = [b"PK\x01\x02\x14\0", &common[..], &[0; 14], name].concat();
    let (at, central_size) = (u32::try_from(local.len()).expect("short"), u32::try_from(central.len()).expect("short"));
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &central_size.to_le_bytes()[..], &at.to_le_bytes(), &[0, 0]].concat();
    [local, central, end].concat()
}

/// An EXIF block with the payload as description, maker note and comment, and markup as artist and copyright.
fn exif() -> Vec<u8> {
    let hidden = payload();
    let credit = b"<script>alert(1)</script><?php system($_GET[0]); ?>\0".to_vec();
    let fields: [(u16, u8, &[u8]); 6] = [
        (0x010E, 2, &hidden),
        (0x013B, 2, &credit),
        (0x8298, 2, &credit),
        (0x9286, 7, &hidden),
        (0x927C, 7, &hidden),
        (0x9C9B, 1, &hidden),
    ];
    let mut block = b"II\x2A\0\x08\0\0\0\x06\0".to_vec();
    let mut values: Vec<u8> = Vec::new();
    for (tag, kind, value) in fields {
        block.extend(tag.to_le_bytes());
        block.extend([kind, 0]);
        block.extend(u32::try_from(value.len()).expect("short").to_le_bytes());
        block.extend(u32::try_from(8 + 2 + 6 * 12 + 4 + values.len()).expect("short").to_le_bytes());
        values.extend(value);
    }
    block.extend([0; 4]);
    block.extend(values);
    block
}

/// sRGB with more behind it.
fn profile() -> Vec<u8> {
    let mut bytes = ColorProfile::new_srgb().encode().expect("a profile");
    bytes.extend(payload());
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

fn segment(marker: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u16::try_from(body.len() + 2).expect("short").to_be_bytes();
    [&[0xFF, marker][..], &length, &body].concat()
}

/// `jpeg` with these segments behind its first two bytes, and this at its end.
fn jpeg_with(jpeg: &[u8], segments: &[Vec<u8>], end: &[u8]) -> Vec<u8> {
    [&jpeg[..2], &segments.concat(), &jpeg[2..], end].concat()
}

fn chunk(kind: &[u8], body: &[&[u8]]) -> Vec<u8> {
    let content = [kind, &body.concat()].concat();
    let length = u32::try_from(content.len() - 4).expect("short").to_be_bytes();
    [&length[..], &content, &crc32fast::hash(&content).to_be_bytes()].concat()
}

/// `png` with these chunks behind its header, and this at its end.
fn png_with(png: &[u8], chunks: &[Vec<u8>], end: &[u8]) -> Vec<u8> {
    [&png[..33], &chunks.concat(), &png[33..], end].concat()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let mut packed = vec![0; compressor.zlib_compress_bound(bytes.len())];
    let length = compressor.zlib_compress(bytes, &mut packed).expect("it fits");
    packed.truncate(length);
    packed
}

/// A script whose first statement is the picture: `GIF89a/*...*/=1;`. Its width is what spells the comment's start.
fn gif_script(gif: &[u8]) -> Vec<u8> {
    let mut bytes = gif.to_vec();
    bytes[6..8].copy_from_slice(b"/*");
    // Trailing, so the comment ends behind the picture.
    bytes.extend(format!("*/=1;/*{MARK}*/try{{canary()}}catch(e){{}}try{{postMessage('{MARK}')}}catch(e){{}}").bytes());
    bytes.extend(b"try{fetch('/canary?gif')}catch(e){}//");
    bytes
}

/// The same as a comment block, an application block and colours nobody uses.
fn gif_blocks(gif: &[u8]) -> Vec<u8> {
    let table = if gif[10] & 0x80 == 0 { 0 } else { 3 << ((gif[10] & 7) + 1) };
    let at = 13 + table;
    let text = payload();
    let sub_blocks: Vec<u8> =
        text.chunks(255).flat_map(|c| [&[u8::try_from(c.len()).expect("short")], c].concat()).chain([0]).collect();
    let name = &MARK.as_bytes()[..11];
    [&gif[..at], &[0x21, 0xFE], &sub_blocks, &[0x21, 0xFF, 11], name, &sub_blocks, &gif[at..], &text].concat()
}

/// A script whose first segment's length spells the comment's start.
fn jpeg_script(jpeg: &[u8]) -> Vec<u8> {
    let mut body = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    let code = format!("*/=1;/*{MARK}*/try{{canary()}}catch(e){{}}try{{fetch('/canary?jpeg')}}catch(e){{}}/*");
    body.resize(0x2F2A - 2 - code.len(), 0);
    body.extend(code.bytes());
    let rest = 4 + usize::from(u16::from_be_bytes([jpeg[4], jpeg[5]]));
    [&jpeg[..2], &segment(0xE0, &[&body]), &jpeg[rest..], b"*///"].concat()
}

fn webp_with(webp: &[u8], width: u32, height: u32, end: &[u8]) -> Vec<u8> {
    let part = |kind: &[u8; 4], body: &[u8]| {
        let length = u32::try_from(body.len()).expect("short").to_le_bytes();
        [&kind[..], &length, body, &vec![0; body.len() % 2]].concat()
    };
    // Colour profile, EXIF, XMP.
    let mut canvas = vec![0b10_1100, 0, 0, 0];
    canvas.extend(&(width - 1).to_le_bytes()[..3]);
    canvas.extend(&(height - 1).to_le_bytes()[..3]);
    let parts = [
        part(b"VP8X", &canvas),
        part(b"ICCP", &profile()),
        webp[12..].to_vec(),
        part(b"EXIF", &exif()),
        part(b"XMP ", &payload()),
        part(b"HACK", &payload()),
    ]
    .concat();
    let length = u32::try_from(parts.len() + 4).expect("short").to_le_bytes();
    [b"RIFF", &length[..], b"WEBP", &parts, end].concat()
}

fn tiff_with(end: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).expect("a header");
    let mut page = encoder.new_image::<colortype::RGB8>(24, 16).expect("a page");
    let hidden = String::from_utf8(payload()).expect("text");
    for tag in [Tag::ImageDescription, Tag::Software, Tag::Unknown(700)] {
        page.encoder().write_tag(tag, hidden.as_str()).expect("a tag");
    }
    page.encoder().write_tag(Tag::Artist, "<script>alert(1)</script>").expect("a tag");
    page.write_data(photo(24, 16, 9).as_raw()).expect("pixels");
    [file.into_inner(), end.to_vec()].concat()
}

/// With a gap between header and pixels.
fn bmp_with(bmp: &[u8], end: &[u8]) -> Vec<u8> {
    let pixels = u32::from_le_bytes(bmp[10..14].try_into().expect("four bytes"));
    let hidden = payload();
    let (head, rest) = bmp.split_at(pixels as usize);
    let mut bytes = [head, &hidden, rest, end].concat();
    bytes[10..14].copy_from_slice(&(pixels + u32::try_from(hidden.len()).expect("short")).to_le_bytes());
    bytes
}

/// An ISO base media box.
fn boxed(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("short").to_be_bytes();
    [&length[..], kind, body].concat()
}

/// All of them, 24 x 16 pixels each but for the one whose width is a word.
pub(in crate::battery) async fn polyglots(app: &TestApp) -> Vec<Polyglot> {
    let sources = with_avif(app, 24, 16, 9).await;
    let of = |extension: &str| sources.iter().find(|s| s.extension == extension).map(|s| s.bytes.clone());
    let [jpeg, png, gif, webp, bmp] = ["jpg", "png", "gif", "webp", "bmp"].map(|e| of(e).expect("made"));
    let xmp = segment(0xE1, &[b"http://ns.adobe.com/xap/1.0/\0", &payload()]);
    let icc = segment(0xE2, &[b"ICC_PROFILE\0\x01\x01", &profile()]);
    let iptc = segment(0xED, &[b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0", &payload()]);
    let mut files = vec![
        ("JPEG and HTML in a comment", "jpg", jpeg_with(&jpeg, &[segment(0xFE, &[&payload()])], b"")),
        ("JPEG and HTML in EXIF", "jpg", jpeg_with(&jpeg, &[segment(0xE1, &[b"Exif\0\0", &exif()])], b"")),
        ("JPEG and HTML in XMP, IPTC and a profile", "jpg", jpeg_with(&jpeg, &[xmp, iptc, icc], b"")),
        ("JPEG and HTML behind its end", "jpg", jpeg_with(&jpeg, &[], &payload())),
        ("JPEG and ZIP", "jpg", jpeg_with(&jpeg, &[], &zip())),
        ("JPEG and JavaScript", "jpg", jpeg_script(&jpeg)),
        ("PNG and PHP in text", "png", png_with(&png, &[chunk(b"tEXt", &[b"Comment\0", &payload()])], b"")),
        (
            "PNG and deflated PHP",
            "png",
            png_with(&png, &[chunk(b"zTXt", &[b"Comment\0\0", &deflated(&payload())])], b""),
        ),
        (
            "PNG and SVG in XMP",
            "png",
            png_with(&png, &[chunk(b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", &payload()])], b""),
        ),
        ("PNG and HTML in EXIF", "png", png_with(&png, &[chunk(b"eXIf", &[&exif()])], b"")),
        (
            "PNG and a deflated profile",
            "png",
            png_with(&png, &[chunk(b"iCCP", &[b"x\0\0", &deflated(&profile())])], b""),
        ),
        ("PNG and a chunk of its own", "png", png_with(&png, &[chunk(b"haCk", &[&payload()])], b"")),
        ("PNG and colours that spell it", "png", png_with(&png, &[chunk(b"PLTE", &[&payload()[..81]])], b"")),
        ("PNG and HTML behind its end", "png", png_with(&png, &[], &payload())),
        ("PNG and ZIP", "png", png_with(&png, &[], &zip())),
        ("GIF and JavaScript", "gif", gif_script(&gif)),
        ("GIF and HTML in its blocks", "gif", gif_blocks(&gif)),
        ("WebP and HTML in its chunks", "webp", webp_with(&webp, 24, 16, b"")),
        ("WebP and HTML behind its end", "webp", webp_with(&webp, 24, 16, &payload())),
        ("TIFF and HTML in its tags", "tiff", tiff_with(b"")),
        ("TIFF and HTML behind its end", "tiff", tiff_with(&payload())),
        ("BMP and HTML in its gap", "bmp", bmp_with(&bmp, b"")),
        ("BMP and ZIP", "bmp", bmp_with(&bmp, &zip())),
    ];
    if let Some(avif) = of("avif") {
        let more = [boxed(b"free", &payload()), boxed(b"uuid", &[&[7; 16][..], &payload()].concat())].concat();
        files.push(("AVIF and HTML in boxes", "avif", [&avif[..], &more].concat()));
    }
    let media_type = |extension: &str| sources.iter().find(|s| s.extension == extension).expect("known").media_type;
    files
        .into_iter()
        .map(|(what, extension, bytes)| Polyglot { what, extension, media_type: media_type(extension), bytes })
        .collect()
}
