//! Bytes that somebody calls a picture: looked at, then decoded to a few pixels. They may be refused; nothing may panic,
//! and what is made has the size that was announced.

#![no_main]

mod panics;

use std::io::Cursor;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pixerve::encoder::Registry;
use pixerve::job::{Background, Fit, Format, Position, VariantSpec};
use pixerve::pipeline::{Engine, PipelineError, PixelLimits, inspect};

/// Small, so that a second holds many pictures.
const LIMITS: PixelLimits = PixelLimits {
    source_max: 256 * 256,
    source_whole_max: 64 * 64,
    output_max: 1 << 20,
};

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(1, LIMITS, Registry::built_in()).expect("threads"))
}

fuzz_target!(init: panics::pass_over_the_caught(), |bytes: &[u8]| {
    let info = inspect(Cursor::new(bytes), &LIMITS);
    let variant = VariantSpec {
        format: Format::Png,
        width: 8,
        height: 8,
        quality: None,
        speed: Some(10),
        fit: Fit::Inside,
        position: Position::default(),
        background: Background::WHITE,
        enlarge: false,
        animated: false,
        tolerant: bytes.len().is_multiple_of(2),
    };
    let rendered = engine().render(bytes, &[variant], &|_| true, &|| false, &|| (), &|_, file| {
        assert!((1..=8).contains(&file.width) && (1..=8).contains(&file.height));
        assert!(info.is_ok(), "what can't be looked at can't be made");
    });
    if let Err(PipelineError::Panicked { detail, .. }) = rendered {
        panic!("{detail}");
    }
});
