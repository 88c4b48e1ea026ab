//! Small good files, changed at random: bytes flipped, lengths made extreme, parts cut out, doubled, or taken from another
//! file. The coverage-guided version of the same is `.ci/fuzz.sh`.
//!
//! `PIXERVE_TEST_SEED=<number>` repeats a run; the seed of every run is printed.

use std::io::Cursor;

use pixerve::clock::{Clock, System};
use pixerve::job::{Fit, Format, VariantSpec};
use pixerve::pipeline::{PipelineError, PixelLimits, inspect};

use super::figure;
use super::sources::sources;
use crate::pixels::picture::{render, variant};

/// xorshift: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    #[expect(clippy::disallowed_methods, reason = "how a run is repeated is the environment's to say")]
    fn new() -> Self {
        let given = std::env::var("PIXERVE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| getrandom::u64().expect("randomness")) | 1;
        println!("PIXERVE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below a usize")
    }
}

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        if bytes.is_empty() {
            return;
        }
        // Heads hold what matters most.
        let reach = if dice.below(2) == 0 { bytes.len().min(128) } else { bytes.len() };
        let at = dice.below(reach);
        let length = dice.below(64).min(bytes.len() - at);
        match dice.below(7) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF][dice.below(6)],
            2 => {
                let extreme =
                    [[0; 4], [0xFF; 4], [0x7F, 0xFF, 0xFF, 0xFF], [0, 0, 0, 1], [1, 0, 0, 0], [0x80, 0, 0, 0]]
                        [dice.below(6)];
                for (byte, value) in bytes[at..].iter_mut().zip(extreme) {
                    *byte = value;
                }
            }
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            5 => bytes.truncate(at + 1),
            _ => {
                let other = &others[dice.below(others.len())];
                let from = dice.below(other.len());
                let part = other[from..other.len().min(from + 64)].to_vec();
                bytes.splice(at..at + length, part);
            }
        }
    }
}

fn mutated(times: usize) {
    let clock = System::new();
    let mut dice = Dice::new();
    let mut seeds: Vec<Vec<u8>> = sources(16, 12, 1).into_iter().map(|source| source.bytes).collect();
    seeds.extend([
        include_bytes!("../../../fuzz/seeds/plain.avif").to_vec(),
        include_bytes!("../../../fuzz/seeds/alpha.avif").to_vec(),
        include_bytes!("../../../fuzz/seeds/alpha.webp").to_vec(),
        include_bytes!("../../../fuzz/seeds/lossless.webp").to_vec(),
    ]);
    let limits = PixelLimits::default();
    let (mut refused, mut failed, mut made, mut slowest) = (0, 0, 0, std::time::Duration::ZERO);
    for _ in 0..times {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        mutate(&mut bytes, &seeds, &mut dice);
        // What claims to be large is the bombs' business, and takes its time.
        let info = match inspect(Cursor::new(&bytes), &limits) {
            Ok(info) if info.pixels() <= 1 << 20 => info,
            Ok(_) => continue,
            Err(_) => {
                refused += 1;
                continue;
            }
        };
        let fit = [Fit::Inside, Fit::Cover, Fit::Contain][dice.below(3)];
        let format = [Format::Jpeg, Format::Png, Format::Webp][dice.below(3)];
        let spec = VariantSpec {
            fit,
            tolerant: dice.below(2) == 0,
            animated: format == Format::Webp && info.frames > 1,
            ..variant(format, 8, 8)
        };
        let started = clock.elapsed();
        match render(&bytes, &[spec]) {
            Ok(_) => made += 1,
            Err(PipelineError::Panicked { detail, .. }) => panic!("{detail}: {}", hex::encode(&bytes)),
            Err(error) => {
                assert!(!error.can_pass_on_retry(), "{error}: {}", hex::encode(&bytes));
                failed += 1;
            }
        }
        slowest = slowest.max(clock.elapsed().saturating_sub(started));
    }
    assert!(refused > 0 && failed > 0 && made > 0, "{refused}, {failed}, {made}");
    assert!(slowest < std::time::Duration::from_secs(10), "{slowest:?}");
    figure(format!(
        "{times} mutated files of 7 formats: {refused} refused, {failed} failed, {made} made, 0 panics, slowest {slowest:?}"
    ));
}

#[test]
fn a_mutated_file_is_refused_or_made_and_nothing_panics() {
    mutated(400);
}

#[test]
#[ignore = "long: make battery"]
fn many_mutated_files_are_refused_or_made_and_nothing_panics() {
    mutated(20_000);
}
