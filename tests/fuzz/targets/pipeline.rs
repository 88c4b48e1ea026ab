//! A picture and what is to be made of it: the first eight bytes choose, the rest is the picture.

#![no_main]

mod panics;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pixerve::encoder::Registry;
use pixerve::job::{Background, Fit, Format, Position, VariantSpec};
use pixerve::pipeline::{Engine, PipelineError, PixelLimits};

const LIMITS: PixelLimits = PixelLimits {
    source_max: 128 * 128,
    source_whole_max: 64 * 64,
    output_max: 1 << 20,
};

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(1, LIMITS, Registry::built_in()).expect("threads"))
}

fuzz_target!(init: panics::pass_over_the_caught(), |input: &[u8]| {
    let Some(([format, width, height, shape, quality, speed, x, flags], bytes)) = input.split_first_chunk::<8>() else {
        return;
    };
    let format = [Format::Jpeg, Format::Png, Format::Webp][usize::from(format % 3)];
    let fit = [Fit::Inside, Fit::Outside, Fit::Cover, Fit::Contain, Fit::Fill][usize::from(shape % 5)];
    let variant = VariantSpec {
        format,
        width: u32::from(*width),
        height: u32::from(*height),
        quality: Some(quality % 101).filter(|quality| *quality > 0),
        speed: Some(7 + speed % 4),
        fit,
        position: Position { x: (x % 3) as i8 - 1, y: (x / 3 % 3) as i8 - 1 },
        background: Background::WHITE,
        enlarge: flags & 1 == 1,
        animated: flags & 2 == 2 && format == Format::Webp,
        tolerant: flags & 4 == 4,
    };
    let second = VariantSpec { width: 16, height: 0, format: Format::Jpeg, animated: false, ..variant.clone() };
    let rendered = engine().render(bytes, &[variant, second], &|_| true, &|| false, &|| (), &|_, file| {
        assert!(file.width > 0 && file.height > 0 && !file.bytes.is_empty());
    });
    if let Err(PipelineError::Panicked { detail, .. }) = rendered {
        panic!("{detail}");
    }
});
