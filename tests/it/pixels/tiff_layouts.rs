//! TIFF's samples in every place and order that writers have thought of.

use image::{Rgba, RgbaImage};
use pixerve::job::Format;
use pixerve::pipeline::PipelineError;
use weezl::BitOrder;

use super::picture::{photo, render, show, variant};
use super::tiff::{Tiff, grey, packed, rgb, shown};

fn lzw(data: &[u8]) -> Vec<u8> {
    weezl::encode::Encoder::with_tiff_size_switch(BitOrder::Msb, 8).encode(data).expect("encodes")
}

fn deflated(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

fn packbits(data: &[u8]) -> Vec<u8> {
    data.chunks(100).flat_map(|run| [&[run.len() as u8 - 1], run].concat()).collect()
}

fn stored(data: &[u8]) -> Vec<u8> {
    data.to_vec()
}

type Compress = fn(&[u8]) -> Vec<u8>;

const COMPRESSIONS: [(u32, Compress); 4] = [(1, stored), (5, lzw), (8, deflated), (32_773, packbits)];

fn bits(text: &str) -> Vec<u8> {
    let byte = |byte: &[u8]| byte.iter().enumerate().fold(0, |sum, (i, bit)| sum | (bit - b'0') << (7 - i));
    text.as_bytes().chunks(8).map(byte).collect()
}

fn reversed(data: &[u8]) -> Vec<u8> {
    data.iter().map(|byte| byte.reverse_bits()).collect()
}

/// `picture` in tiles of 16 x 32, what sticks out of it black, one plane after the other or all samples together.
fn tiles(picture: &RgbaImage, planes: bool, deep: bool) -> Vec<Vec<u8>> {
    let (across, down) = (picture.width().div_ceil(16), picture.height().div_ceil(32));
    let tile = |left: u32, top: u32, channels: std::ops::Range<usize>| {
        let at = |x: u32, y: u32, c: usize| picture.get_pixel_checked(left + x, top + y).map_or(0, |p| p[c]);
        let samples = (0..32).flat_map(|y| (0..16).map(move |x| (x, y)));
        let samples = samples.flat_map(|(x, y)| channels.clone().map(move |c| at(x, y, c)));
        samples.flat_map(|v| if deep { vec![v, v] } else { vec![v] }).collect::<Vec<u8>>()
    };
    let groups = if planes { vec![0..1, 1..2, 2..3] } else { vec![0..3; 1] };
    let corners = (0..down).flat_map(|y| (0..across).map(move |x| (x * 16, y * 32)));
    groups
        .into_iter()
        .flat_map(|group| corners.clone().map(move |(x, y)| (x, y, group.clone())))
        .map(|(x, y, g)| tile(x, y, g))
        .collect()
}

#[test]
fn tiles_that_stick_out_are_cut_in_every_compression_and_order_of_samples() {
    for (width, height) in [(50, 37), (1, 1), (16, 32), (33, 65)] {
        let picture = photo(width, height);
        for (method, compress) in COMPRESSIONS {
            for planes in [false, true] {
                for deep in [false, true] {
                    let bits = if deep { 16 } else { 8 };
                    let chunks = tiles(&picture, planes, deep).iter().map(|tile| compress(tile)).collect();
                    let file = Tiff::new((width, height), 2, bits, 3, Vec::new()).with(259, &[method]);
                    let file = file.with(284, &[if planes { 2 } else { 1 }]).with(322, &[16]).with(323, &[32]);
                    let what = format!("{width} x {height}, method {method}, planes {planes}, {bits} bits");
                    assert!(shown(&file.in_chunks(chunks)) == picture, "{what}");
                }
            }
        }
    }
}

#[test]
fn bytes_whose_first_bit_is_the_lowest_are_turned_at_every_depth() {
    for depth in [1, 2, 4, 8, 16_u32] {
        let full = (1_u32 << depth.min(8)) - 1;
        let level = |x: u32, y: u32| ((x * 3 + y) % (full + 1)) as u8;
        let scale = (255 / full) as u8;
        let data: Vec<u8> = if depth < 8 {
            packed(19, 7, depth, level)
        } else {
            let samples = (0..7).flat_map(|y| (0..19).map(move |x| level(x, y)));
            samples.flat_map(|v| vec![v; depth as usize / 8]).collect()
        };
        for (method, compress) in COMPRESSIONS {
            for big_endian in [false, true] {
                let file = Tiff::new((19, 7), 1, depth, 1, reversed(&compress(&data)));
                let file = Tiff { big_endian, ..file.with(259, &[method]).with(266, &[2]) };
                assert!(shown(&file) == grey(19, 7, |x, y| level(x, y) * scale), "{depth} bits, method {method}");
            }
        }
    }
}

/// Group 4, 16 pixels wide: white (vertical 0), black (horizontal: white run 0, black run 16), the same again (two
/// verticals), white (horizontal: white run 16, black run 0), end of block.
fn group4() -> Vec<u8> {
    bits(concat!(
        "1",
        "001",
        "00110101",
        "0000010111",
        "1",
        "1",
        "001",
        "101010",
        "0000110111",
        "000000000001000000000001"
    ))
}

fn bars() -> RgbaImage {
    grey(16, 4, |_, y| if matches!(y, 1 | 2) { 0 } else { 255 })
}

#[test]
fn fax_of_every_kind_is_black_on_white() {
    let (end, white, black) = ("000000000001", "101010", "001101010000010111");
    let rows = [white, black, black, white];
    let one_dimension = rows.map(|row| format!("{end}{row}")).concat();
    // A tag bit behind each end says which dimension comes; the third row is the second's (two verticals).
    let two_dimensions = format!("{end}1{white}{end}1{black}{end}011{end}1{white}");
    let filled = rows.map(|row| format!("0000{end}{row:0<20}")).concat();
    let aligned: String =
        rows.iter().map(|row| format!("{row:0<24}")).map(|row| row.trim_end_matches("00000000").to_owned()).collect();
    let kinds: [(&str, u32, u32, Vec<u8>); 6] = [
        ("Group 4", 4, 0, group4()),
        ("Group 3", 3, 0, bits(&(one_dimension.clone() + &end.repeat(6)))),
        ("Group 3 without an end", 3, 0, bits(&one_dimension)),
        ("Group 3 in two dimensions", 3, 1, bits(&two_dimensions)),
        ("Group 3 with fill bits", 3, 4, bits(&filled)),
        ("run lengths", 2, 0, bits(&aligned)),
    ];
    for (what, method, options, data) in kinds {
        let file = Tiff::new((16, 4), 0, 1, 1, data.clone()).with(259, &[method]).with(292, &[options]);
        assert_eq!(shown(&file), bars(), "{what}");
        let turned = file.with(266, &[2]).in_chunks(vec![reversed(&data)]);
        assert_eq!(shown(&turned), bars(), "{what}, its bits in reverse");
    }
}

#[test]
fn one_strip_may_have_more_rows_than_there_are() {
    let picture = photo(23, 17);
    for rows in [u32::MAX, u32::MAX - 1, 18, 0] {
        let file = Tiff::new((16, 4), 0, 1, 1, group4()).with(259, &[4]).with(278, &[rows]);
        assert_eq!(shown(&file), bars(), "Group 4, {rows} rows");
        for (method, compress) in COMPRESSIONS {
            let file = Tiff::new((23, 17), 2, 8, 3, compress(&rgb(&picture))).with(259, &[method]).with(278, &[rows]);
            assert!(shown(&file) == picture, "method {method}, {rows} rows");
        }
    }
}

#[test]
fn strips_and_tiles_are_found_under_each_others_tags_and_without_their_sizes() {
    let picture = photo(40, 64);
    let data = rgb(&picture);
    for (method, compress) in COMPRESSIONS {
        let base = || Tiff::new((40, 64), 2, 8, 3, Vec::new()).with(259, &[method]);
        let strips = data.chunks(40 * 3 * 20).map(compress).collect();
        let strips = base().with(278, &[20]).in_chunks(strips);
        let tiled = tiles(&picture, false, false).iter().map(|tile| compress(tile)).collect();
        let tiled = base().with(322, &[16]).with(323, &[32]).in_chunks(tiled);
        for file in [strips, tiled] {
            for (offsets, counts) in [(273, Some(279)), (324, Some(325)), (273, Some(325)), (273, None), (324, None)] {
                let bytes = file.file_under(offsets, counts);
                let what = format!("method {method}, offsets under {offsets}, sizes under {counts:?}");
                assert!(show(&bytes, &variant(Format::Png, 0, 0)) == picture, "{what}");
            }
        }
    }
}

#[test]
fn a_directory_that_points_to_itself_is_one_page() {
    let picture = photo(20, 10);
    let mut file = Tiff::new((20, 10), 2, 8, 3, rgb(&picture)).file();
    let start = u32::from_le_bytes(file[4..8].try_into().expect("four bytes")) as usize;
    let entries = usize::from(u16::from_le_bytes([file[start], file[start + 1]]));
    let next = start + 2 + 12 * entries;
    file.copy_within(4..8, next);
    assert_eq!(show(&file, &variant(Format::Png, 0, 0)), picture);
}

#[test]
fn a_page_that_does_not_say_what_its_samples_mean_is_what_they_look_like() {
    let picture = photo(20, 10);
    let without = |mut file: Tiff| {
        file.tags.retain(|(tag, _)| *tag != 262);
        file
    };
    assert_eq!(shown(&without(Tiff::new((20, 10), 2, 8, 3, rgb(&picture)))), picture);
    let level = |x: u32, y: u32| (x * 7 + y) as u8;
    let data = (0..10).flat_map(|y| (0..20).map(move |x| level(x, y))).collect();
    assert_eq!(shown(&without(Tiff::new((20, 10), 1, 8, 1, data))), grey(20, 10, level));
}

#[test]
fn samples_between_the_usual_depths_keep_their_share_of_the_range() {
    for depth in [3, 5, 6, 7, 9, 10, 12, 14, 15_u32] {
        let full = (1_u32 << depth) - 1;
        let level = |x: u32, y: u32| (x * 977 + y * 353) % (full + 1);
        let mut text = String::new();
        for y in 0..9 {
            let digits = |x: u32| format!("{:0width$b}", level(x, y), width = depth as usize);
            let row = (0..21).map(digits).collect::<Vec<_>>().concat();
            text.push_str(&row);
            text.push_str(&"0".repeat(row.len().next_multiple_of(8) - row.len()));
        }
        let found = shown(&Tiff::new((21, 9), 1, depth, 1, bits(&text)));
        let expected = grey(21, 9, |x, y| (f64::from(level(x, y)) * 255.0 / f64::from(full)).round() as u8);
        let off = found.pixels().zip(expected.pixels()).map(|(a, b)| a[0].abs_diff(b[0])).max();
        assert!(off <= Some(1), "{depth} bits: off by {off:?}");
    }
}

#[test]
fn floating_point_is_read_in_either_order_and_with_its_predictor() {
    let level = |x: u32, y: u32| f64::from(x * 10 + y) / 250.0;
    let expected = grey(20, 10, |x, y| {
        let v = level(x, y);
        let v = if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        (v * 255.0).round() as u8
    });
    for bytes in [4_usize, 8] {
        let value = |x: u32, y: u32| {
            if bytes == 4 { (level(x, y) as f32).to_be_bytes().to_vec() } else { level(x, y).to_be_bytes().to_vec() }
        };
        // A row's highest bytes, then the next, each the difference from the one before.
        let row = |y: u32| {
            let values: Vec<Vec<u8>> = (0..20).map(|x| value(x, y)).collect();
            let planes: Vec<u8> = (0..bytes).flat_map(|b| values.iter().map(move |v| v[b])).collect();
            (0..planes.len())
                .map(|i| if i == 0 { planes[0] } else { planes[i].wrapping_sub(planes[i - 1]) })
                .collect::<Vec<u8>>()
        };
        let predicted: Vec<u8> = (0..10).flat_map(row).collect();
        let plain = |big_endian: bool| -> Vec<u8> {
            let values = (0..10).flat_map(|y| (0..20).map(move |x| (x, y)));
            values
                .flat_map(|(x, y)| if big_endian { value(x, y) } else { value(x, y).into_iter().rev().collect() })
                .collect()
        };
        for big_endian in [false, true] {
            let base = |data| Tiff { big_endian, ..Tiff::new((20, 10), 1, bytes as u32 * 8, 1, data).with(339, &[3]) };
            for (what, file) in [
                ("plain", base(plain(big_endian))),
                ("predicted", base(lzw(&predicted)).with(259, &[5]).with(317, &[3])),
            ] {
                let found = shown(&file);
                let off = found.pixels().zip(expected.pixels()).map(|(a, b)| a[0].abs_diff(b[0])).max();
                assert!(off <= Some(1), "{what}, {bytes} bytes, big endian {big_endian}: off by {off:?}");
            }
        }
    }
}

#[test]
fn a_strip_that_ends_early_is_damage_and_a_file_that_does_is_truncated() {
    let picture = photo(30, 30);
    for (method, compress) in COMPRESSIONS {
        let whole = compress(&rgb(&picture));
        let short = compress(&rgb(&picture)[..30 * 3 * 12]);
        let base = Tiff::new((30, 30), 2, 8, 3, Vec::new()).with(259, &[method]);
        // Behind it comes something else.
        let short = base.clone().in_chunks(vec![short, vec![0; 64]]).file();
        let cut = {
            // The directory comes first here, so that what is cut are pixels.
            let file = base.in_chunks(vec![whole.clone()]).file();
            let directory = file[8 + whole.len().next_multiple_of(2)..].to_vec();
            moved(&directory, 8 + whole.len().next_multiple_of(2), &whole[..whole.len() / 2])
        };
        let strict = || [variant(Format::Png, 0, 0)];
        if method != 1 {
            assert!(matches!(render(&short, &strict()), Err(PipelineError::BadImage { .. })), "method {method}");
        }
        assert!(matches!(render(&cut, &strict()), Err(PipelineError::Truncated)), "method {method}");
        let tolerant = pixerve::job::VariantSpec { tolerant: true, ..variant(Format::Png, 0, 0) };
        let shown = show(&cut, &tolerant);
        let row = |picture: &RgbaImage, y: u32| (0..30).map(|x| *picture.get_pixel(x, y)).collect::<Vec<Rgba<u8>>>();
        assert_eq!(row(&shown, 3), row(&picture, 3), "method {method}");
    }
}

/// A file of one strip whose directory, which was at `from`, stands before it.
fn moved(directory: &[u8], from: usize, strip: &[u8]) -> Vec<u8> {
    let mut file = b"II\x2A\0\x08\0\0\0".to_vec();
    let mut directory = directory.to_vec();
    let entries = usize::from(u16::from_le_bytes([directory[0], directory[1]]));
    let length = directory.len() as u32;
    for entry in (0..entries).map(|i| 2 + 12 * i) {
        let number = |at: usize| u32::from_le_bytes(directory[at..at + 4].try_into().expect("four bytes"));
        let (tag, count, value) = (number(entry) as u16, number(entry + 4), number(entry + 8));
        let place = if tag == 273 {
            8 + length
        } else if count > 2 {
            value - from as u32 + 8
        } else {
            continue;
        };
        directory[entry + 8..entry + 12].copy_from_slice(&place.to_le_bytes());
    }
    file.extend(directory);
    file.extend(strip);
    file
}

#[test]
fn samples_that_fail_their_checksum_are_damaged_and_a_checksum_that_is_missing_is_not() {
    let picture = photo(40, 30);
    let base = Tiff::new((40, 30), 2, 8, 3, Vec::new()).with(259, &[8]);
    // A tile most of which sticks out: its checksum is far behind the last row that shows.
    let tall: Vec<u8> = (0..1024).flat_map(|y| (0..64).map(move |x| [x, y as u8, 99])).flatten().collect();
    for (what, file, chunks) in [
        ("a strip", base.clone(), vec![rgb(&picture)]),
        ("planes", base.clone().with(284, &[2]).with(322, &[16]).with(323, &[32]), tiles(&picture, true, false)),
        ("a tall tile", base.with(322, &[64]).with(323, &[1024]), vec![tall]),
    ] {
        let show = |change: fn(&mut Vec<u8>)| {
            let changed = |chunk: &Vec<u8>| {
                let mut data = deflated(chunk);
                change(&mut data);
                data
            };
            let file = file.clone().in_chunks(chunks.iter().map(changed).collect()).file();
            render(&file, &[variant(Format::Png, 0, 0)])
        };
        assert!(show(|_| ()).is_ok(), "{what}");
        assert!(show(|data| data.truncate(data.len() - 4)).is_ok(), "{what}: every pixel is there");
        let wrong = show(|data| *data.last_mut().expect("a checksum") ^= 1);
        assert!(
            matches!(wrong, Err(PipelineError::BadImage { .. })),
            "{what}: its pixels are others than were written"
        );
    }
}

#[test]
fn more_strips_than_their_rows_allow_are_no_picture() {
    // Four strips of four rows under a tag that says that one has them all.
    let strips: Vec<Vec<u8>> = (0..4).map(|i| vec![i * 60; 8 * 4]).collect();
    let file = Tiff::new((8, 16), 1, 8, 1, Vec::new()).with(278, &[255]).in_chunks(strips).file();
    for tolerant in [false, true] {
        let asked = pixerve::job::VariantSpec { tolerant, ..variant(Format::Png, 0, 0) };
        let error = render(&file, &[asked]).expect_err("one of the two is wrong");
        assert!(error.to_string().contains("more strips or tiles than their size"), "{tolerant}: {error}");
    }
}

#[test]
fn a_tag_of_another_type_is_read_or_refused_and_never_taken_for_missing() {
    let samples: Vec<u8> = (0..8 * 16).map(|i| i * 2).collect();
    let file = Tiff::new((8, 16), 1, 8, 1, lzw(&samples)).with(259, &[5]).file();
    let picture = shown_file(&file);
    // The entry's tag and type.
    let at = file.windows(2).position(|two| two == [3, 1]).expect("its compression") + 2;
    let as_type = |kind: u8| {
        let mut file = file.clone();
        file[at] = kind;
        file
    };
    assert_eq!(file[at], 3, "SHORT");
    assert_eq!(shown_file(&as_type(8)), picture, "with a sign it says the same");
    for kind in [2, 11, 12, 200] {
        let error =
            render(&as_type(kind), &[variant(Format::Png, 0, 0)]).expect_err("nothing says how it is compressed");
        assert!(error.to_string().contains("tag 259 is no whole number"), "type {kind}: {error}");
    }
}

fn shown_file(file: &[u8]) -> RgbaImage {
    show(file, &variant(Format::Png, 0, 0))
}
