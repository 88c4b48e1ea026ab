//! Files that end too soon.

use super::super::decode_reduced;
use super::matrix::passes;
use super::reference::shown;
use super::writer::{Plan, apart, picture};
use crate::pipeline::PipelineError;
use crate::pipeline::raster::Samples;

fn decoded(file: &[u8], tolerant: bool, reduction: u32) -> Result<Vec<u8>, PipelineError> {
    match decode_reduced(file, tolerant, reduction)?.raster.samples {
        Samples::U8(samples) => Ok(samples),
        Samples::U16(_) => panic!("eight bits"),
    }
}

/// Where the first scan's data begin.
fn data_begins(file: &[u8]) -> usize {
    let scan = file.windows(2).position(|w| w == [0xFF, 0xDA]).expect("a scan");
    scan + 2 + usize::from(u16::from_be_bytes([file[scan + 2], file[scan + 3]]))
}

/// How many pixels of two pictures of `channels` differ visibly.
fn pixels_apart(a: &[u8], b: &[u8], channels: usize) -> usize {
    let differs = |(a, b): &(&[u8], &[u8])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 8);
    a.chunks(channels).zip(b.chunks(channels)).filter(differs).count()
}

/// The kinds of files that are cut.
fn plans() -> Vec<(String, Plan)> {
    let mut plans = Vec::new();
    for sampling in [&[(1, 1)][..], &[(1, 1); 3], &[(2, 1), (1, 1), (1, 1)], &[(2, 2), (1, 1), (1, 1)]] {
        for interval in [0, 5] {
            let plan = Plan { interval, ..Plan::new((97, 70), sampling) };
            plans.push((format!("{sampling:?}, restarts {interval}"), plan.clone()));
            if sampling.len() == 3 {
                let passes_apart = apart(&[&[0], &[1], &[2]]);
                plans.push((
                    format!("{sampling:?}, apart, restarts {interval}"),
                    Plan { passes: passes_apart, ..plan.clone() },
                ));
                for (progressive, passes) in passes().into_iter().filter(|(progressive, _)| *progressive) {
                    let what = format!("{sampling:?}, {} progressive scans, restarts {interval}", passes.len());
                    plans.push((what, Plan { progressive, passes, ..plan.clone() }));
                }
            }
        }
    }
    plans
}

#[test]
fn what_is_there_of_a_cut_file_is_what_libjpeg_shows() {
    let mut compared = 0;
    for (what, plan) in plans() {
        let file = plan.write(&picture(&plan));
        let begin = data_begins(&file);
        let (channels, mcu) = (plan.sampling.len(), plan.sampling[0]);
        for part in 1..24 {
            let cut = &file[..begin + (file.len() - 2 - begin) * part / 24];
            for reduction in [1, 2] {
                let Some(expected) = shown(cut, reduction) else { continue };
                let strict = decoded(cut, false, u32::from(reduction)).err();
                assert!(matches!(strict, Some(PipelineError::Truncated)), "{what}, {part}: {strict:?}");
                let there = decoded(cut, true, u32::from(reduction)).unwrap_or_else(|e| panic!("{what}, {part}: {e}"));
                // The unit that it ends in is libjpeg's to make up; its neighbours are interpolated, and those of a
                // progressive file smoothed, two blocks far.
                let around = if plan.progressive { 2 * 16 * mcu.0.max(mcu.1) } else { 4 };
                let allowed = (8 * mcu.0 + around) * (8 * mcu.1 + around) / usize::from(reduction * reduction);
                let apart = pixels_apart(&there, &expected.samples, channels);
                assert!(apart <= allowed, "{what}, {part} of 24, 1/{reduction}: {apart} pixels differ");
                compared += 1;
            }
        }
    }
    assert!(compared > 800, "{compared}");
}

/// Where the data of each scan lie.
fn scans(file: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut scans = Vec::new();
    let mut at = 0;
    while let Some(scan) = file[at..].windows(2).position(|w| w == [0xFF, 0xDA]) {
        let begin = at + scan + data_begins(&file[at + scan..]);
        let is_marker = |w: &[u8]| w[0] == 0xFF && w[1] != 0 && !(0xD0..=0xD7).contains(&w[1]);
        let end = begin + file[begin..].windows(2).position(is_marker).expect("an end");
        scans.push(begin..end);
        at = end;
    }
    scans
}

#[test]
fn a_scan_that_is_cut_within_its_file_is_never_taken_for_whole() {
    let mut cut = 0;
    for (what, plan) in plans() {
        let file = plan.write(&picture(&plan));
        for (i, data) in scans(&file).into_iter().enumerate().filter(|(_, data)| data.len() > 40) {
            let middle = data.start + data.len() / 2;
            let short = [&file[..middle], &file[data.end..]].concat();
            let strict = decoded(&short, false, 1);
            assert!(strict.is_err(), "{what}, scan {i}");
            decoded(&short, true, 1).unwrap_or_else(|e| panic!("{what}, scan {i}: {e}"));
            cut += 1;
        }
    }
    assert!(cut > 50, "{cut}");
}

#[test]
fn a_cut_picture_is_right_or_grey() {
    for (what, plan) in plans().into_iter().filter(|(_, plan)| !plan.progressive && plan.passes.len() == 1) {
        let file = plan.write(&picture(&plan));
        let whole = decoded(&file, false, 1).expect("a good file");
        let (begin, channels) = (data_begins(&file), plan.sampling.len());
        for at in (begin + 20..file.len() - 2).step_by(7) {
            let Ok(there) = decoded(&file[..at], true, 1) else { continue };
            let pixels = there.chunks(channels).zip(whole.chunks(channels)).enumerate();
            // Between right and grey, chroma is interpolated: over a pixel.
            let is_odd = |(there, whole): (&[u8], &[u8])| {
                let right = there.iter().zip(whole).all(|(a, b)| a.abs_diff(*b) <= 8);
                let grey = there.iter().all(|value| value.abs_diff(128) <= 2);
                !right && !grey
            };
            let odd = pixels.filter(|(_, pair)| is_odd(*pair)).count();
            assert!(odd <= 4 * (plan.size.0 + plan.size.1) * usize::from(channels > 1), "{what}, {at}: {odd} pixels");
        }
    }
}

#[test]
fn a_file_without_its_end_is_whole_if_every_pixel_is_there() {
    for (what, plan) in plans() {
        let file = plan.write(&picture(&plan));
        let whole = decoded(&file, false, 1).expect("a good file");
        let endless = &file[..file.len() - 2];
        for more in [&b""[..], b"\xFF", b"\0\0"] {
            let without_end = decoded(&[endless, more].concat(), false, 1);
            let without_end = without_end.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(pixels_apart(&without_end, &whole, plan.sampling.len()), 0, "{what}");
        }
        // A byte of its data more is missed.
        let shorter = decoded(&endless[..endless.len() - 1], false, 1);
        assert!(matches!(shorter, Err(PipelineError::Truncated)), "{what}: {:?}", shorter.map(|_| ()));
    }
}

#[test]
fn a_file_that_is_cut_before_its_picture_shows_nothing() {
    for (what, plan) in plans() {
        let file = plan.write(&picture(&plan));
        for at in [2, 20, data_begins(&file) - 3, data_begins(&file)] {
            assert!(decoded(&file[..at], true, 1).is_err(), "{what}, {at}");
        }
    }
}

#[test]
fn restart_markers_that_are_not_where_the_file_says_are_damage_and_no_truncation() {
    let plan = Plan { interval: 4, ..Plan::new((97, 70), &[(2, 2), (1, 1), (1, 1)]) };
    let file = plan.write(&picture(&plan));
    let at = file.windows(4).position(|w| w == [0xFF, 0xDD, 0, 4]).expect("an interval");
    let unannounced = [&file[..at], &file[at + 6..]].concat();
    let mut longer = file.clone();
    longer[at + 5] = 5;
    let first = file.windows(2).position(|w| w == [0xFF, 0xD0]).expect("a marker");
    let shorter = [&file[..first - 9], &file[first..]].concat();
    for (what, damaged) in [("unannounced", unannounced), ("longer", longer), ("with less in one", shorter)] {
        for reduction in [1, 2] {
            let error = decoded(&damaged, false, reduction).expect_err(what);
            assert!(matches!(error, PipelineError::BadImage { .. }), "{what}, 1/{reduction}: {error}");
        }
    }
}

#[test]
fn a_lost_interval_costs_no_other() {
    let plan = Plan { interval: 4, ..Plan::new((97, 70), &[(1, 1); 3]) };
    let file = plan.write(&picture(&plan));
    let whole = decoded(&file, false, 1).expect("a good file");
    let markers: Vec<usize> = file
        .windows(2)
        .enumerate()
        .filter(|(_, w)| w[0] == 0xFF && matches!(w[1], 0xD0..=0xD7))
        .map(|(i, _)| i)
        .collect();
    // One interval, or two, or the data of one without its marker.
    for lost in [markers[5]..markers[6], markers[5]..markers[7], markers[5] + 2..markers[6]] {
        let damaged = [&file[..lost.start], &file[lost.end..]].concat();
        assert!(decoded(&damaged, false, 1).is_err());
        let there = decoded(&damaged, true, 1).expect("most of it");
        let apart = pixels_apart(&there, &whole, 3);
        assert!((1..=2 * 4 * 64).contains(&apart), "{apart} pixels differ");
    }
}
