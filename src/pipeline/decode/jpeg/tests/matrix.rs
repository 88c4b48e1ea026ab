//! Sampling x scans x restarts x colours x sizes.

use super::super::colours::Colours;
use super::super::{decode_reduced, fast};
use super::reference::shown;
use super::writer::{Pass, Plan, apart, picture, segment, together};
use crate::pipeline::container::jpeg::Jpeg;
use crate::pipeline::raster::{Model, Samples};

/// How far apart two pictures are, in levels of 255: on average, and at most.
fn difference(a: &[u8], b: &[u8]) -> (f64, u8) {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = apart.clone().map(u64::from).sum();
    (sum as f64 / a.len() as f64, apart.max().unwrap_or(0))
}

/// Holds `file` against libjpeg at every size. Says what is wrong.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    check_within(file, 8)
}

/// The same, where no level may be further off than `most_allowed`.
fn check_within(file: &[u8], most_allowed: u8) -> Result<(), String> {
    for reduction in [1, 2, 4, 8] {
        let expected = shown(file, reduction).ok_or("libjpeg refuses it")?;
        let raster = decode_reduced(file, false, u32::from(reduction)).map_err(|e| e.to_string())?.raster;
        let Samples::U8(mut samples) = raster.samples else { return Err("it is too deep".to_owned()) };
        if raster.model == Model::Cmyk {
            // As it is stored.
            for ink in &mut samples {
                *ink = 255 - *ink;
            }
        }
        if (raster.width as usize, raster.height as usize) != (expected.width, expected.height) {
            return Err(format!("1/{reduction}: {} x {} pixels", raster.width, raster.height));
        }
        let (mean, most) = difference(&samples, &expected.samples);
        if mean >= 1.0 || most > most_allowed {
            return Err(format!("1/{reduction}: {mean:.2} levels apart, {most} at most"));
        }
    }
    Ok(())
}

const YCC: [&[(usize, usize)]; 17] = [
    &[(1, 1), (1, 1), (1, 1)],
    &[(2, 1), (1, 1), (1, 1)],
    &[(1, 2), (1, 1), (1, 1)],
    &[(2, 2), (1, 1), (1, 1)],
    &[(4, 1), (1, 1), (1, 1)],
    &[(1, 4), (1, 1), (1, 1)],
    &[(4, 2), (1, 1), (1, 1)],
    &[(3, 1), (1, 1), (1, 1)],
    &[(1, 3), (1, 1), (1, 1)],
    &[(2, 2), (2, 2), (2, 2)],
    &[(2, 2), (2, 1), (2, 1)],
    &[(2, 2), (1, 2), (2, 1)],
    &[(2, 1), (1, 1), (2, 1)],
    // Chroma finer than luma.
    &[(1, 1), (2, 1), (2, 1)],
    &[(1, 1), (2, 2), (1, 1)],
    &[(1, 2), (2, 1), (2, 1)],
    // Between.
    &[(4, 1), (2, 1), (1, 1)],
];

fn pass(members: &[usize], band: (usize, usize), bits: (u32, u32)) -> Pass {
    Pass { members: members.to_vec(), band, bits }
}

/// The ways to split three components into scans; the last ones are progressive.
pub(super) fn passes() -> Vec<(bool, Vec<Pass>)> {
    let spectral = |order: [usize; 3]| {
        let mut passes = vec![pass(&[0, 1, 2], (0, 0), (0, 0))];
        passes.extend(
            order.iter().flat_map(|member| [pass(&[*member], (1, 5), (0, 0)), pass(&[*member], (6, 63), (0, 0))]),
        );
        passes
    };
    let mut refined = vec![pass(&[0, 1, 2], (0, 0), (0, 1))];
    refined.extend([2, 0, 1].map(|member| pass(&[member], (1, 63), (0, 2))));
    refined.push(pass(&[0, 1, 2], (0, 0), (1, 0)));
    refined.extend([0, 1, 2].map(|member| pass(&[member], (1, 63), (2, 1))));
    refined.extend([1, 2, 0].map(|member| pass(&[member], (1, 63), (1, 0))));
    let mut apart_too = vec![pass(&[2], (0, 0), (0, 0)), pass(&[0], (0, 0), (0, 0)), pass(&[1], (0, 0), (0, 0))];
    apart_too.extend([0, 1, 2].map(|member| pass(&[member], (1, 63), (0, 0))));
    vec![
        (false, together(3)),
        (false, apart(&[&[0], &[1], &[2]])),
        (false, apart(&[&[0], &[1, 2]])),
        (false, apart(&[&[1, 2], &[0]])),
        (false, apart(&[&[2], &[1], &[0]])),
        (false, apart(&[&[0, 1], &[2]])),
        (true, spectral([0, 1, 2])),
        (true, refined),
        (true, apart_too),
    ]
}

/// What libjpeg can't hold in a unit of coding.
fn is_too_much(plan: &Plan) -> bool {
    let blocks = |pass: &Pass| pass.members.iter().map(|m| plan.sampling[*m].0 * plan.sampling[*m].1).sum::<usize>();
    plan.passes.iter().any(|pass| pass.members.len() > 1 && blocks(pass) > 10)
}

pub(super) fn report(wrong: &[String], count: usize) {
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong[..wrong.len().min(400)].join("\n"));
}

#[test]
fn every_sampling_in_every_order_of_scans_looks_as_libjpeg_shows_it() {
    let (mut count, mut wrong) = (0, Vec::new());
    for sampling in YCC {
        for size in [(33, 17), (48, 32), (18, 50), (7, 3), (64, 40)] {
            let mut plan = Plan::new(size, sampling);
            let coefficients = picture(&plan);
            for (i, (progressive, passes)) in passes().into_iter().enumerate() {
                for interval in [0, 1, 3] {
                    plan = Plan { progressive, passes: passes.clone(), interval, ..plan };
                    if is_too_much(&plan) {
                        continue;
                    }
                    count += 1;
                    if let Err(what) = check(&plan.write(&coefficients)) {
                        wrong.push(format!("{sampling:?}, scans {i}, {size:?}, restarts {interval}: {what}"));
                    }
                }
            }
        }
    }
    report(&wrong, count);
    assert!(count > 1500, "{count}");
}

/// APP0 as JFIF has it.
const JFIF: &[u8] = b"\xFF\xE0\0\x10JFIF\0\x01\x02\0\0\x01\0\x01\0\0";

/// Adobe's marker with this transform, `cut` bytes shorter than Adobe writes it.
fn adobe(transform: u8, cut: usize) -> Vec<u8> {
    let mut payload = b"Adobe\0\x64\0\0\0\0".to_vec();
    payload.push(transform);
    payload.truncate(12 - cut);
    let mut file = Vec::new();
    segment(&mut file, 0xEE, &payload);
    file
}

#[test]
fn the_same_markers_and_names_mean_the_same_colours_as_to_libjpeg() {
    let markers = [
        ("none", Vec::new()),
        ("JFIF", JFIF.to_vec()),
        ("a short JFIF", b"\xFF\xE0\0\x0CJFIF\0\x01\x02\0\0\x01".to_vec()),
        ("Adobe 0", adobe(0, 0)),
        ("Adobe 1", adobe(1, 0)),
        ("Adobe 2", adobe(2, 0)),
        ("Adobe 7", adobe(7, 0)),
        ("a short Adobe 0", adobe(0, 1)),
        ("a long Adobe 0", [adobe(0, 0), adobe(0, 0)].concat()),
        ("JFIF and Adobe 0", [JFIF.to_vec(), adobe(0, 0)].concat()),
        ("Adobe 0 and JFIF", [adobe(0, 0), JFIF.to_vec()].concat()),
        ("JFIF and Adobe 1", [JFIF.to_vec(), adobe(1, 0)].concat()),
        ("JFIF and Adobe 2", [JFIF.to_vec(), adobe(2, 0)].concat()),
    ];
    let names: [&[u8]; 7] = [&[1, 2, 3, 4], &[0, 1, 2, 3], b"RGBA", b"rgba", b"YCcK", &[1, 34, 35, 36], &[7, 7, 7, 7]];
    let samplings: [&[(usize, usize)]; 9] = [
        &[(1, 1)],
        &[(2, 2)],
        &[(1, 3)],
        &[(1, 1); 3],
        &[(2, 2), (1, 1), (1, 1)],
        &[(1, 1); 4],
        &[(2, 2), (1, 1), (1, 1), (2, 2)],
        &[(2, 1), (1, 1), (1, 1), (2, 1)],
        &[(2, 2), (1, 1), (1, 1), (1, 1)],
    ];
    let (mut count, mut wrong) = (0, Vec::new());
    for sampling in samplings {
        let mut plan = Plan::new((34, 19), sampling);
        let coefficients = picture(&plan);
        let members: Vec<usize> = (0..sampling.len()).collect();
        for ids in names {
            plan.ids = ids[..sampling.len()].to_vec();
            let in_order = [&members[..]];
            let mut orders = vec![apart(&in_order)];
            // Which one is meant, of several of one name in scans of their own, libjpeg doesn't ask.
            if sampling.len() > 1 && ids[0] != ids[1] {
                orders.push(apart(&members.iter().map(std::slice::from_ref).collect::<Vec<_>>()));
            }
            for passes in orders {
                for (what, bytes) in &markers {
                    plan = Plan { passes: passes.clone(), markers: bytes.clone(), ..plan };
                    count += 1;
                    if let Err(error) = check(&plan.write(&coefficients)) {
                        wrong.push(format!("{sampling:?}, {what}, called {ids:?}, {} scans: {error}", passes.len()));
                    }
                }
            }
        }
    }
    report(&wrong, count);
    assert!(count > 900, "{count}");
}

#[test]
fn components_of_one_name_in_scans_of_their_own_come_in_their_order() {
    let plan = Plan { passes: apart(&[&[0], &[1], &[2]]), ..Plan::new((34, 19), &[(2, 2), (1, 1), (1, 1)]) };
    let coefficients = picture(&plan);
    let as_usual = decode_reduced(&plan.write(&coefficients), false, 1).expect("a good file").raster;
    let alike =
        decode_reduced(&Plan { ids: vec![5; 3], ..plan }.write(&coefficients), false, 1).expect("no worse").raster;
    let (Samples::U8(as_usual), Samples::U8(alike)) = (as_usual.samples, alike.samples) else { panic!("eight bits") };
    assert!(as_usual == alike);
}

#[test]
fn motion_jpegs_tables_are_taken_for_granted() {
    for sampling in [&[(1, 1)][..], &[(2, 1), (1, 1), (1, 1)], &[(2, 2), (1, 1), (1, 1)]] {
        let mut plan = Plan::new((50, 30), sampling);
        let coefficients = picture(&plan);
        let mut frame = Vec::new();
        segment(&mut frame, 0xE0, b"AVI1\0\0\0\0\0\0\0\0\0\0");
        for markers in [Vec::new(), frame] {
            for interval in [0, 2] {
                plan = Plan { markers: markers.clone(), interval, without_tables: true, ..plan };
                assert_eq!(check(&plan.write(&coefficients)), Ok(()), "{sampling:?}");
            }
        }
    }
    // A progressive file has no such tables.
    let (_, passes) = passes().pop().expect("progressive");
    let plan = Plan { progressive: true, passes, without_tables: true, ..Plan::new((50, 30), YCC[3]) };
    let error = decode_reduced(&plan.write(&picture(&plan)), false, 1).err().expect("no tables");
    assert!(error.to_string().contains("Huffman table"), "{error}");
}

#[test]
fn bytes_and_segments_between_scans_are_harmless() {
    let mut comment = Vec::new();
    segment(&mut comment, 0xFE, b"\xFF\xDA\xFF\xD9");
    let mut profile = Vec::new();
    segment(&mut profile, 0xE2, b"ICC_PROFILE\0\x01\x09");
    let between = [b"\0\x01\x02garbage".to_vec(), b"\xFF\xFF\xFF".to_vec(), comment, profile, b"\xFF\xD3".to_vec()];
    let (mut count, mut wrong) = (0, Vec::new());
    for sampling in [YCC[0], YCC[3], YCC[13]] {
        for size in [(33, 17), (48, 32)] {
            let mut plan = Plan::new(size, sampling);
            let coefficients = picture(&plan);
            for (i, (progressive, passes)) in passes().into_iter().enumerate() {
                for (bytes, interval) in between.iter().flat_map(|bytes| [(bytes, 0), (bytes, 2)]) {
                    plan = Plan { progressive, passes: passes.clone(), interval, between: bytes.clone(), ..plan };
                    count += 1;
                    if let Err(error) = check(&plan.write(&coefficients)) {
                        wrong.push(format!("{sampling:?}, scans {i}, {size:?}, {bytes:?}, {interval}: {error}"));
                    }
                }
            }
        }
    }
    report(&wrong, count);
}

#[test]
fn a_picture_so_narrow_that_libjpeg_repeats_its_colour_is_as_that_shows_it() {
    for (width, height) in (1..=6).flat_map(|width| [(width, 16), (width, 33)]) {
        for (chroma, progressive) in [((2, 1), false), ((2, 2), false), ((2, 1), true), ((2, 2), true)] {
            let file = encoded(width, height, chroma, progressive);
            assert_eq!(check(&file), Ok(()), "{chroma:?}, {width} x {height}, {progressive}");
            assert!(width > 4 || !goes_the_fast_way(&file), "{chroma:?}, {width} x {height}");
        }
    }
}

/// A file as libjpeg writes it, with so many pixels, across and down, a sample of chroma.
fn encoded(width: usize, height: usize, chroma: (u8, u8), progressive: bool) -> Vec<u8> {
    let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    compress.set_fastest_defaults();
    compress.set_size(width, height);
    compress.set_quality(75.0);
    compress.set_chroma_sampling_pixel_sizes(chroma, chroma);
    if progressive {
        compress.set_progressive_mode();
    }
    let mut started = compress.start_compress(Vec::new()).expect("starts");
    let pixel =
        |x: usize, y: usize| [x * 255 / width, y * 255 / height, 255 - x * 200 / width].map(|level| level as u8);
    let pixels: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    started.write_scanlines(&pixels).expect("writes");
    started.finish().expect("finishes")
}

/// Whether the fast decoder takes `file`.
fn goes_the_fast_way(file: &[u8]) -> bool {
    let jpeg = Jpeg::of(file);
    let colours = Colours::of(&jpeg).expect("colours");
    fast::is_for(&jpeg) && fast::decode(file, &jpeg, colours).is_some()
}

#[test]
fn what_encoders_write_goes_the_fast_way_and_what_was_cropped_does_not() {
    for chroma in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        for (width, height) in [(64, 48), (50, 34), (98, 72), (33, 17), (66, 51)] {
            for progressive in [false, true] {
                let file = encoded(width, height, chroma, progressive);
                assert_eq!(check(&file), Ok(()), "{chroma:?}, {width} x {height}");
                // Of a progressive file that ends in the middle of a unit it can't be known what it was cropped from.
                let hidden = |side: usize, factor: u8| factor == 2 && side % 16 == 8;
                let expected = !(progressive && (hidden(width, chroma.0) || hidden(height, chroma.1)));
                assert_eq!(goes_the_fast_way(&file), expected, "{chroma:?}, {width} x {height}, {progressive}");
            }
        }
    }
    for size in [(98, 72), (96, 72), (98, 64)] {
        let plan = Plan::new(size, YCC[3]);
        let file = plan.write(&picture(&plan));
        assert!(fast::is_for(&Jpeg::of(&file)) && !goes_the_fast_way(&file), "{size:?}");
    }
}

#[test]
fn what_a_progressive_file_never_gives_is_smoothed_over_as_libjpeg_does_it() {
    let all: &[usize] = &[0, 1, 2];
    let some = [
        vec![pass(all, (0, 0), (0, 0))],
        vec![pass(all, (0, 0), (0, 0)), pass(&[0], (1, 2), (0, 0))],
        vec![pass(all, (0, 0), (0, 0)), pass(&[0], (1, 63), (0, 0)), pass(&[2], (4, 9), (0, 0))],
    ];
    for sampling in [YCC[0], YCC[3]] {
        for size in [(97, 70), (64, 48)] {
            let mut plan = Plan { progressive: true, ..Plan::new(size, sampling) };
            let coefficients = picture(&plan);
            for passes in &some {
                plan.passes.clone_from(passes);
                // Near the lower edge libjpeg looks at levels beyond it.
                let outcome = check_within(&plan.write(&coefficients), 30);
                assert_eq!(outcome, Ok(()), "{sampling:?}, {size:?}, {passes:?}");
            }
        }
    }
}

#[test]
fn sampling_that_nobody_reads_is_refused_in_words() {
    for (sampling, named) in
        [(&[(3, 1), (2, 1), (1, 1)][..], "fractional sampling"), (&[(0, 1), (1, 1), (1, 1)], "sampling factors")]
    {
        let mut plan = Plan::new((33, 17), &[(1, 1); 3]);
        let coefficients = picture(&plan);
        let mut file = plan.write(&coefficients);
        let frame = file.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a frame header");
        for (i, (h, v)) in sampling.iter().enumerate() {
            file[frame + 11 + 3 * i] = h << 4 | v;
        }
        let refused = decode_reduced(&file, false, 1).err().expect("refused").to_string();
        assert!(refused.contains(named), "{refused}");
        plan.ids.clear();
    }
}
