//! Colours by number (ITU-T H.273), as a profile that explains the samples.

use moxcms::{CicpColorPrimaries, CicpProfile, ColorProfile, MatrixCoefficients, TransferCharacteristics};

use super::hdr;
use crate::pipeline::inspect::Cicp;
use crate::pipeline::raster::Samples;

/// An ICC profile for RGB `samples`, with alpha or without, of these colours; none if they are sRGB or unknown.
///
/// Samples brighter than a screen's white (PQ and HLG) are first brought into its range.
pub(super) fn explain(said: Cicp, samples: &mut Samples, alpha: bool) -> Option<Vec<u8>> {
    let transfer = match said.transfer {
        16 | 18 => {
            hdr::to_screen(said.transfer, samples, alpha);
            TransferCharacteristics::Srgb
        }
        number @ (4 | 5 | 8 | 9 | 10) => TransferCharacteristics::try_from(number).ok()?,
        // 1, 6, 14 and 15 are a camera's curve, not a screen's: pictures that name it were made to look right on sRGB
        // screens, and every viewer shows them so.
        _ => TransferCharacteristics::Srgb,
    };
    let primaries = match said.primaries {
        number @ (1 | 4..=12 | 22) => CicpColorPrimaries::try_from(number).ok()?,
        _ => CicpColorPrimaries::Bt709,
    };
    if primaries == CicpColorPrimaries::Bt709 && transfer == TransferCharacteristics::Srgb {
        return None;
    }
    let mut profile = ColorProfile::new_from_cicp(CicpProfile {
        color_primaries: primaries,
        transfer_characteristics: transfer,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    });
    // The curves and primaries say it all, to readers that don't know the numbers too.
    profile.cicp = None;
    profile.encode().ok()
}
