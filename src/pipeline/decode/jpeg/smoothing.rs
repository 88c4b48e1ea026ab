//! What a progressive file that is not all there may have meant: coefficients that have not come yet are estimated from
//! the levels around their block, after the idea of T.81, K.8, with the weights that libjpeg-turbo uses since 2.1, so
//! that a picture that ends early looks soft and not like tiles.

use super::scan::{Block, ZIGZAG};

/// Coefficients that are estimated: as many as come first in a file, the level included.
const ESTIMATED: usize = 10;

/// How many low bits of the first coefficients of a component are still to come; none if all are.
pub(super) type Known = [Option<u8>; ESTIMATED];

/// What is known before the first scan.
pub(super) const NOTHING: Known = [None; ESTIMATED];

/// The levels of a block, in the middle, and of those around it, in steps of the quantiser.
pub(super) type Levels = [[i16; 5]; 5];

/// Weights of those, in 256ths.
type Kernel = [[i64; 5]; 5];

/// How a block is completed of which so much is known.
pub(super) struct Smoothing {
    /// The coefficient's place in the file, its kernel, and how many bits of it are still to come.
    estimates: Vec<(usize, Kernel, Option<u8>)>,
}

impl Smoothing {
    /// For a component of which `known` is known, and whose steps are `scale`; none if there is nothing to estimate.
    pub(super) fn new(known: &Known, scale: &[u16; 64]) -> Option<Self> {
        let divides = ZIGZAG[..ESTIMATED].iter().all(|place| scale[usize::from(*place)] > 0);
        if !divides || known[0].is_none() {
            return None;
        }
        let nothing = known[1..].iter().all(Option::is_none);
        // Where nothing but levels is known, they are soft as well; where more is, only the nearest frequencies are missed.
        let kernels: &[Option<Kernel>; ESTIMATED] = if nothing { &OF_LEVELS } else { &OF_MORE };
        let estimates = (0..ESTIMATED).filter_map(|k| {
            let is_open = known[k] != Some(0) || k == 0;
            Some((k, kernels[k].filter(|_| is_open)?, known[k]))
        });
        let estimates: Vec<_> = estimates.collect();
        (!estimates.is_empty()).then_some(Self { estimates })
    }

    /// `block` with estimates in place of what is not known; `levels` are around it.
    pub(super) fn complete(&self, block: &Block, levels: &Levels, scale: &[u16; 64]) -> Block {
        let mut completed = *block;
        for (k, kernel, to_come) in &self.estimates {
            let place = usize::from(ZIGZAG[*k]);
            if *k > 0 && block[place] != 0 {
                continue;
            }
            let pairs = kernel.iter().flatten().zip(levels.iter().flatten());
            let sum = pairs.map(|(weight, level)| weight * i64::from(*level)).sum::<i64>() * i64::from(scale[0]);
            let step = i64::from(scale[place]);
            let size = (sum.abs() + 128 * step) / (256 * step);
            // What is known is that it is smaller than its bits that have come can say.
            let bound = to_come.filter(|bits| *bits > 0 && *k > 0).map_or(i64::MAX, |bits| (1 << bits) - 1);
            completed[place] = i16::try_from(sum.signum() * size.min(bound)).unwrap_or(i16::MAX);
        }
        completed
    }
}

const fn turned(kernel: Kernel) -> Kernel {
    let mut turned = [[0; 5]; 5];
    let mut i = 0;
    while i < 25 {
        turned[i % 5][i / 5] = kernel[i / 5][i % 5];
        i += 1;
    }
    turned
}

/// One half-wave across: of levels alone, and beside more.
const ONE: Kernel =
    [[-1, -1, 0, 1, 1], [-3, 13, 0, -13, 3], [-3, 38, 0, -38, 3], [-3, 13, 0, -13, 3], [-1, -1, 0, 1, 1]];
const ONE_OF_MORE: Kernel = [[0; 5], [0; 5], [-7, 50, 0, -50, 7], [0; 5], [0; 5]];
/// Two half-waves across.
const TWO: Kernel = [[0; 5], [0, 2, -5, 2, 0], [1, 7, -14, 7, 1], [0, 2, -5, 2, 0], [0; 5]];
const TWO_OF_MORE: Kernel = [[0; 5], [0; 5], [-1, 13, -24, 13, -1], [0; 5], [0; 5]];
/// One across and one down.
const BOTH: Kernel = [[-1, 0, 0, 0, 1], [0, 9, 0, -9, 0], [0; 5], [0, -9, 0, 9, 0], [1, 0, 0, 0, -1]];
const BOTH_OF_MORE: Kernel = [[0, -1, 0, 1, 0], [-1, 10, 0, -10, 1], [0; 5], [1, -10, 0, 10, -1], [0, 1, 0, -1, 0]];
/// Three across.
const THREE: Kernel = [[0; 5], [0, 1, 0, -1, 0], [0, 2, 0, -2, 0], [0, 1, 0, -1, 0], [0; 5]];
/// Two across and one down.
const TWO_AND_ONE: Kernel = [[0; 5], [0, 1, -3, 1, 0], [0; 5], [0, -1, 3, -1, 0], [0; 5]];
/// The level.
const LEVEL: Kernel =
    [[-2, -6, -8, -6, -2], [-6, 6, 42, 6, -6], [-8, 42, 152, 42, -8], [-6, 6, 42, 6, -6], [-2, -6, -8, -6, -2]];

/// In the order of the file.
const OF_LEVELS: [Option<Kernel>; ESTIMATED] = [
    Some(LEVEL),
    Some(ONE),
    Some(turned(ONE)),
    Some(turned(TWO)),
    Some(BOTH),
    Some(TWO),
    Some(THREE),
    Some(TWO_AND_ONE),
    Some(turned(TWO_AND_ONE)),
    Some(turned(THREE)),
];
const OF_MORE: [Option<Kernel>; ESTIMATED] = [
    None,
    Some(ONE_OF_MORE),
    Some(turned(ONE_OF_MORE)),
    Some(turned(TWO_OF_MORE)),
    Some(BOTH_OF_MORE),
    Some(TWO_OF_MORE),
    None,
    None,
    None,
    None,
];
