//! Artist and copyright, wherever an original keeps them, in every format that a variant may have.

use exif::{In, Reader, Tag};
use pixerve::encoder::Credits;
use pixerve::job::Format;

use super::orientation::with_exif;
use super::picture::{file, jpeg, photo, png, render, variant};

/// (artist, copyright) that the variant in `format` carries.
fn kept(source: &[u8], format: Format) -> (Option<String>, Option<String>) {
    let rendered = render(source, &[variant(format, 0, 0)]).expect("a good source").remove(0);
    let Ok(exif) = Reader::new().read_from_container(&mut std::io::Cursor::new(&rendered.bytes)) else {
        return (None, None);
    };
    let text = |tag| {
        exif.get_field(tag, In::PRIMARY).map(|field| match &field.value {
            exif::Value::Ascii(parts) => String::from_utf8(parts[0].clone()).expect("UTF-8"),
            other => panic!("{other:?}"),
        })
    };
    (text(Tag::Artist), text(Tag::Copyright))
}

fn copyright(source: &[u8]) -> Option<String> {
    kept(source, Format::Jpeg).1
}

/// `jpeg` with a segment behind its start.
fn with_segment(jpeg: &[u8], code: u8, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xFF, code], &length, data, &jpeg[2..]].concat()
}

fn with_xmp(jpeg: &[u8], packet: &str) -> Vec<u8> {
    with_segment(jpeg, 0xE1, &[b"http://ns.adobe.com/xap/1.0/\0", packet.as_bytes()].concat())
}

/// IPTC's data sets, each by its number in the second record.
fn iptc(sets: &[(u8, &[u8])]) -> Vec<u8> {
    let set =
        |(number, text): &(u8, &[u8])| [&[0x1C, 2, *number], &(text.len() as u16).to_be_bytes()[..], text].concat();
    sets.iter().flat_map(set).collect()
}

/// Photoshop's resources, by number.
fn photoshop(resources: &[(u16, &[u8])]) -> Vec<u8> {
    let resource = |(number, data): &(u16, &[u8])| {
        let padding = vec![0; data.len() % 2];
        [b"8BIM", &number.to_be_bytes()[..], &[0, 0], &(data.len() as u32).to_be_bytes(), data, &padding].concat()
    };
    resources.iter().flat_map(resource).collect()
}

fn with_photoshop(jpeg: &[u8], resources: &[u8]) -> Vec<u8> {
    with_segment(jpeg, 0xED, &[b"Photoshop 3.0\0", resources].concat())
}

fn xmp(properties: &str) -> String {
    format!(
        r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
        xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
        xmlns:core="http://purl.org/dc/elements/1.1/"><rdf:Description rdf:about="">{properties}</rdf:Description>
        </rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#
    )
}

const RIGHTS: &str = r#"<core:title><rdf:Alt><rdf:li xml:lang="x-default">No credit</rdf:li></rdf:Alt></core:title>
    <core:creator><rdf:Seq><rdf:li>Ada Lovelace</rdf:li><rdf:li>Ch. Babbage</rdf:li></rdf:Seq></core:creator>
    <core:rights><rdf:Alt><rdf:li xml:lang="de">Alle Rechte</rdf:li>
    <rdf:li xml:lang="x-default">&#169; 1843 A. L. &amp; Co</rdf:li></rdf:Alt></core:rights>"#;

/// A field of a directory: its tag and type, how many values it claims, and where or what they are.
type Field = (u16, u16, u32, [u8; 4]);

/// A little-endian directory, and text behind it: the fields' values are put as they are.
fn directory(fields: &[Field], behind: &[u8]) -> Vec<u8> {
    let mut block = b"II\x2A\0\x08\0\0\0".to_vec();
    block.extend((fields.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in fields {
        block.extend(tag.to_le_bytes());
        block.extend(kind.to_le_bytes());
        block.extend(count.to_le_bytes());
        block.extend(value);
    }
    block.extend([0; 4]);
    block.extend(behind);
    block
}

#[test]
fn credits_are_found_in_each_block_alone_and_kept_in_every_format() {
    let picture = jpeg(&photo(40, 30));
    let both = |artist: &str, copyright: &str| (Some(artist.to_owned()), Some(copyright.to_owned()));
    let records = iptc(&[(5, b"No credit"), (80, b"Ada Lovelace"), (116, "\u{a9} 1843 A. L. & Co".as_bytes())]);
    let sources = [
        ("IPTC", with_photoshop(&picture, &photoshop(&[(0x03ED, &[1; 7]), (0x0404, &records)])), "Ada Lovelace"),
        ("XMP", with_xmp(&picture, &xmp(RIGHTS)), "Ada Lovelace; Ch. Babbage"),
        ("EXIF", with_exif(&picture, &own_exif("Ada Lovelace", "\u{a9} 1843 A. L. & Co".as_bytes())), "Ada Lovelace"),
    ];
    for (what, source, artist) in sources {
        for format in Format::ALL {
            assert_eq!(kept(&source, format), both(artist, "\u{a9} 1843 A. L. & Co"), "{what} to {format}");
        }
    }
}

fn own_exif(artist: &str, copyright: &[u8]) -> Vec<u8> {
    let credits = Credits { artist: Some(artist.to_owned()), copyright: Some("x".repeat(copyright.len())) };
    let mut block = credits.exif().expect("credits");
    let at = block.windows(copyright.len()).position(|w| w.iter().all(|b| *b == b'x')).expect("the field");
    block[at..at + copyright.len()].copy_from_slice(copyright);
    block
}

#[test]
fn text_that_is_no_utf8_is_latin1_wherever_it_is() {
    let picture = jpeg(&photo(20, 20));
    let (latin1, text) = (b"\xA9 Bj\xF6rk Gu\xF0mundsd\xF3ttir", "\u{a9} Bj\u{f6}rk Gu\u{f0}mundsd\u{f3}ttir");
    let sources = [
        ("EXIF", with_exif(&picture, &own_exif("A", latin1))),
        ("IPTC", with_photoshop(&picture, &photoshop(&[(0x0404, &iptc(&[(116, latin1)]))]))),
    ];
    for (what, source) in sources {
        for format in Format::ALL {
            assert_eq!(kept(&source, format).1.as_deref(), Some(text), "{what} to {format}");
        }
    }
}

#[test]
fn xmp_says_it_in_several_ways() {
    let picture = jpeg(&photo(20, 20));
    for (what, properties, expected) in [
        ("an element", "<core:rights>mine</core:rights>", "mine"),
        ("a copy of EXIF's", "<tiff:Copyright>mine</tiff:Copyright>", "mine"),
        (
            "no language in particular",
            "<core:rights><rdf:Alt><rdf:li xml:lang=\"fr\">\u{e0} moi</rdf:li></rdf:Alt></core:rights>",
            "\u{e0} moi",
        ),
        ("CDATA", "<core:rights><![CDATA[A & B]]></core:rights>", "A & B"),
        ("before damage", "<core:rights>mine</core:rights><core:title><rdf:", "mine"),
    ] {
        assert_eq!(copyright(&with_xmp(&picture, &xmp(properties))).as_deref(), Some(expected), "{what}");
    }
    let attribute = xmp("").replace("rdf:about=\"\"", "rdf:about=\"\" core:rights=\"A &amp; B\"");
    assert_eq!(copyright(&with_xmp(&picture, &attribute)).as_deref(), Some("A & B"), "an attribute");
    let other = xmp("<rights>not this</rights>").replace("rdf:about=\"\"", "xmlns=\"urn:other\"");
    assert_eq!(copyright(&with_xmp(&picture, &other)), None, "another vocabulary's rights");
}

#[test]
fn what_is_damaged_harms_no_other_field() {
    let picture = jpeg(&photo(20, 20));
    // Text of five bytes and their zero, behind four entries.
    let text_at = (8 + 2 + 4 * 12 + 4_u32).to_le_bytes();
    let good: Field = (0x8298, 2, 6, text_at);
    let bad: [(&str, Field); 7] = [
        ("a type that there is none of", (0x010F, 99, 4, [0; 4])),
        ("values beyond the end", (0x010F, 2, 40, [0xFF, 0xFF, 0, 0])),
        ("values without number", (0x010F, 5, u32::MAX, [8, 0, 0, 0])),
        ("a sub-directory beyond the end", (0x8769, 4, 1, [0xF0, 0xFF, 0xFF, 0x7F])),
        ("a sub-directory that is this one", (0x8769, 4, 1, [8, 0, 0, 0])),
        ("a place that is none", (0x8825, 4, 1, [1, 0, 0, 0])),
        ("an artist that isn't there", (0x013B, 2, 900, [0xFF, 0xFF, 0, 0])),
    ];
    for (what, field) in bad {
        for order in [[field, good, field, field], [field, field, field, good]] {
            let source = with_exif(&picture, &directory(&order, b"A. L.\0"));
            assert_eq!(copyright(&source).as_deref(), Some("A. L."), "{what}");
        }
    }
    let cut = with_exif(&picture, &directory(&[good; 4], b"A. L.\0")[..8 + 2 + 3 * 12 + 5]);
    let cut = with_xmp(&cut, &xmp("<core:rights>mine</core:rights>"));
    assert_eq!(copyright(&cut).as_deref(), Some("mine"), "XMP where EXIF's text is cut off");
    let no_tiff = with_xmp(&with_exif(&picture, b"nonsense"), &xmp("<core:rights>mine</core:rights>"));
    assert_eq!(copyright(&no_tiff).as_deref(), Some("mine"), "XMP where EXIF is nonsense");
    let records = [b"\x1C\x02\x05\xFF\xF0".to_vec(), iptc(&[(116, b"A. L.")])].concat();
    let resources = [b"8BIM\x04".to_vec(), photoshop(&[(0x0404, &records)])].concat();
    assert_eq!(copyright(&with_photoshop(&picture, &resources)).as_deref(), Some("A. L."), "IPTC behind damage");
}

#[test]
fn every_format_of_an_original_has_places_for_them() {
    let packet = xmp("<core:rights>mine</core:rights>");
    let exif = own_exif("Ada", b"mine");
    let records = iptc(&[(116, b"mine")]);
    let picture = photo(24, 16);

    let chunk = |id: [u8; 4], data: &[u8]| {
        let body = [&id[..], data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
    };
    let zlib = |data: &[u8]| {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    };
    let whole = png(&picture);
    let with_chunk = |id: &[u8; 4], data: &[u8]| [&whole[..33], &chunk(*id, data), &whole[33..]].concat();
    let raw = |name: &str, data: &[u8]| {
        let text = format!("\n{name}\n{:8}\n{}\n", data.len(), hex::encode(data));
        [b"Raw profile type ", name.as_bytes(), b"\0\0", &zlib(text.as_bytes())].concat()
    };
    let plain = [b"XML:com.adobe.xmp\0\0\0\0\0", packet.as_bytes()].concat();
    let compressed = [b"XML:com.adobe.xmp\0\x01\0\0\0".to_vec(), zlib(packet.as_bytes())].concat();
    let mut sources = vec![
        ("PNG, EXIF", with_chunk(b"eXIf", &exif)),
        ("PNG, XMP", with_chunk(b"iTXt", &plain)),
        ("PNG, XMP compressed", with_chunk(b"iTXt", &compressed)),
        ("PNG, IPTC as ImageMagick has it", with_chunk(b"zTXt", &raw("iptc", &photoshop(&[(0x0404, &records)])))),
        ("PNG, EXIF as ImageMagick has it", with_chunk(b"zTXt", &raw("exif", &[b"Exif\0\0", &exif[..]].concat()))),
        ("PNG, its own keyword", with_chunk(b"tEXt", b"Copyright\0mine")),
    ];

    let webp = |id: &[u8; 4], data: &[u8]| {
        let mut file = b"RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\x0C\0\0\0\x17\0\0\x0F\0\0".to_vec();
        file.extend(&self::file(picture.clone(), image::ImageFormat::WebP)[12..]);
        file.extend(id);
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(data);
        file.extend(vec![0; data.len() % 2]);
        let size = (file.len() as u32 - 8).to_le_bytes();
        file[4..8].copy_from_slice(&size);
        file
    };
    sources.push(("WebP, EXIF", webp(b"EXIF", &exif)));
    sources.push(("WebP, XMP", webp(b"XMP ", packet.as_bytes())));

    let mut trailer = vec![1];
    trailer.extend((0..=255).rev());
    let gif = file(picture.clone(), image::ImageFormat::Gif);
    let head = 13 + if gif[10] & 0x80 == 0 { 0 } else { 3 << ((gif[10] & 7) + 1) };
    let xmp_block = [b"!\xFF\x0BXMP DataXMP", packet.as_bytes(), &trailer, &[0]].concat();
    sources.push(("GIF, XMP", [&gif[..head], &xmp_block, &gif[head..]].concat()));

    let tiff = |tag: u16, data: &[u8]| {
        let mut source = std::io::Cursor::new(Vec::new());
        let mut encoder = tiff::encoder::TiffEncoder::new(&mut source).expect("a header");
        let mut page = encoder.new_image::<tiff::encoder::colortype::Gray8>(4, 4).expect("a page");
        page.encoder().write_tag(tiff::tags::Tag::Unknown(tag), data).expect("a tag");
        page.write_data(&[9; 16]).expect("pixels");
        source.into_inner()
    };
    sources.push(("TIFF, XMP", tiff(700, packet.as_bytes())));
    sources.push(("TIFF, IPTC", tiff(0x83BB, &records)));
    sources.push(("TIFF, Photoshop", tiff(0x8649, &photoshop(&[(0x0404, &records)]))));
    for (what, source) in sources {
        assert_eq!(copyright(&source).as_deref(), Some("mine"), "{what}");
    }
}

#[test]
fn exif_comes_before_xmp_and_that_before_iptc_each_field_for_itself() {
    let picture = with_photoshop(
        &with_xmp(&jpeg(&photo(20, 20)), &xmp("<core:rights>by XMP</core:rights>")),
        &photoshop(&[(0x0404, &iptc(&[(80, b"by IPTC"), (116, b"by IPTC")]))]),
    );
    assert_eq!(kept(&picture, Format::Png), (Some("by IPTC".to_owned()), Some("by XMP".to_owned())));
    let source = with_exif(&picture, &own_exif("by EXIF", b"by EXIF"));
    assert_eq!(kept(&source, Format::Png), (Some("by EXIF".to_owned()), Some("by EXIF".to_owned())));
}
