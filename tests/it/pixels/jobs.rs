//! One engine, many jobs: none harms another.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pixerve::encoder::{EncodeError, EncodeSettings, Encoder, Picture, Png, Registry, WorkingMemory};
use pixerve::job::{Fit, Format};
use pixerve::pipeline::{Engine, PipelineError, PixelLimits, inspect, memory_estimate, same_as};

use super::picture::{photo, png, render, variant};

/// Panics on its first picture of each `period`, and makes the rest.
struct PanickingEncoder(AtomicUsize, usize);

impl Encoder for PanickingEncoder {
    fn format(&self) -> Format {
        Format::Png
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) >= self.1, "dropped it");
        Png.encode(picture, settings)
    }

    fn with_exif(&self, file: Vec<u8>, _: &[u8], _: (u32, u32)) -> Vec<u8> {
        file
    }

    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory {
        Png.working_memory(settings)
    }
}

/// Writes something else than it was asked for.
struct TruncatingEncoder;

impl Encoder for TruncatingEncoder {
    fn format(&self) -> Format {
        Format::Png
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Png.encode(picture, settings)?;
        bytes.truncate(bytes.len() - 4);
        Ok(bytes)
    }

    fn with_exif(&self, file: Vec<u8>, _: &[u8], _: (u32, u32)) -> Vec<u8> {
        file
    }

    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory {
        Png.working_memory(settings)
    }
}

/// Counts the pictures it is given.
struct CountingEncoder(Arc<AtomicUsize>);

impl Encoder for CountingEncoder {
    fn format(&self) -> Format {
        Format::Png
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Png.encode(picture, settings)
    }

    fn with_exif(&self, file: Vec<u8>, _: &[u8], _: (u32, u32)) -> Vec<u8> {
        file
    }

    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory {
        Png.working_memory(settings)
    }
}

fn engine_with(encoder: impl Encoder + 'static) -> Engine {
    let registry = Registry::built_in().with(Arc::new(encoder));
    Engine::new(2, PixelLimits::default(), registry).expect("threads")
}

#[test]
fn a_panic_costs_its_job_and_not_the_pool() {
    let engine = engine_with(PanickingEncoder(AtomicUsize::new(0), 100));
    let source = png(&photo(20, 20));
    for _ in 0..100 {
        let outcome = engine.render(&source, &[variant(Format::Png, 0, 0)], &|_| true, &|| false, &|| (), &|_, _| ());
        assert!(matches!(outcome, Err(PipelineError::Panicked { detail, .. }) if detail == "dropped it"));
    }
    let delivered = AtomicUsize::new(0);
    let variants: Vec<_> = (1..=8).map(|side| variant(Format::Png, side, side)).collect();
    engine
        .render(&source, &variants, &|_| true, &|| false, &|| (), &|_, _| {
            delivered.fetch_add(1, Ordering::SeqCst);
        })
        .expect("the pool still works");
    assert_eq!(delivered.into_inner(), 8);
}

#[test]
fn a_file_that_is_not_what_was_asked_for_is_not_handed_out() {
    let outcome = engine_with(TruncatingEncoder).render(
        png(&photo(20, 20)),
        &[variant(Format::Png, 0, 0)],
        &|_| true,
        &|| false,
        &|| (),
        &|_, _| panic!("it was handed out"),
    );
    assert!(matches!(&outcome, Err(PipelineError::Encode(_))), "{outcome:?}");
}

#[test]
fn what_comes_out_alike_is_encoded_once_and_delivered_under_each_number() {
    let count = Arc::new(AtomicUsize::new(0));
    let engine = engine_with(CountingEncoder(Arc::clone(&count)));
    let source = png(&photo(40, 30));
    let png_of = |width, height| variant(Format::Png, width, height);
    let mut larger = png_of(80, 80);
    larger.enlarge = true;
    let mut on_canvas = png_of(60, 60);
    on_canvas.fit = Fit::Contain;
    let mut fastest = png_of(90, 90);
    fastest.speed = Some(1);
    let variants = [png_of(80, 80), png_of(10, 10), png_of(0, 60), png_of(0, 0), larger, on_canvas, fastest];
    let source_info = inspect(std::io::Cursor::new(&source), &PixelLimits::default()).expect("a PNG");
    let same: Vec<_> = (0..variants.len()).map(|index| same_as(index, &variants, &source_info)).collect();
    assert_eq!(same, [None, None, Some(0), Some(0), None, None, None]);

    for (wanted, encoded) in [(vec![0, 1, 2, 3, 4, 5, 6], 5), (vec![2, 3], 1), (vec![3], 1)] {
        count.store(0, Ordering::SeqCst);
        let files = Mutex::new(vec![None; variants.len()]);
        let is_wanted = |index: usize| wanted.contains(&index);
        engine
            .render(&source, &variants, &is_wanted, &|| false, &|| (), &|index, file| {
                let before = files.lock().expect("no panic")[index].replace(file.bytes);
                assert_eq!(before, None, "{index} came twice");
            })
            .expect("a good source");
        let files = files.into_inner().expect("no panic");
        let delivered: Vec<usize> = (0..variants.len()).filter(|index| files[*index].is_some()).collect();
        assert_eq!((delivered, count.load(Ordering::SeqCst)), (wanted.clone(), encoded));
        for (index, first) in same.iter().enumerate().filter_map(|(index, first)| Some((index, (*first)?))) {
            if is_wanted(index) && is_wanted(first) {
                assert_eq!(files[index], files[first], "{index} is {first}");
            }
        }
    }
}

#[test]
fn a_cancelled_job_delivers_nothing_more() {
    let source = png(&photo(64, 64));
    let variants: Vec<_> = (1..=40).map(|side| variant(Format::Png, side, 0)).collect();
    let (cancelled, late) = (AtomicBool::new(false), AtomicUsize::new(0));
    let engine = Engine::new(1, PixelLimits::default(), Registry::built_in()).expect("threads");
    let outcome =
        engine.render(&source, &variants, &|_| true, &|| cancelled.load(Ordering::SeqCst), &|| (), &|_, _| {
            if cancelled.swap(true, Ordering::SeqCst) {
                late.fetch_add(1, Ordering::SeqCst);
            }
        });
    assert!(matches!(outcome, Err(PipelineError::Cancelled)));
    assert_eq!(late.into_inner(), 0);

    let outcome =
        engine.render(&source, &variants, &|_| true, &|| true, &|| (), &|_, _| panic!("nothing is delivered"));
    assert!(matches!(outcome, Err(PipelineError::Cancelled)));
}

#[test]
fn jobs_share_the_pool_and_each_gets_its_own_files() {
    let sides: Vec<u32> = (20..28).collect();
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for side in &sides {
            let outcomes = &outcomes;
            scope.spawn(move || {
                let specs = Format::ALL.map(|format| variant(format, 0, 0));
                let rendered = render(&png(&photo(*side, 16)), &specs).expect("a good source");
                let whose = rendered.iter().map(|r| r.width).collect::<Vec<_>>();
                outcomes.lock().expect("no panic").push((*side, whose));
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no panic");
    assert_eq!(outcomes.len(), 8);
    for (side, whose) in outcomes {
        assert_eq!(whose, [side; 4]);
    }
}

#[test]
fn the_memory_estimate_grows_with_what_is_asked_for() {
    let info = inspect(std::io::Cursor::new(png(&photo(400, 300))), &PixelLimits::default()).expect("a PNG");
    let estimate = |formats: &[Format]| {
        let specs: Vec<_> = formats.iter().map(|format| variant(*format, 0, 0)).collect();
        memory_estimate(&info, &specs, 2, &PixelLimits::default())
    };
    let decoded = info.pixels() * 4;
    assert!(estimate(&[]) > decoded);
    assert!(estimate(&[Format::Jpeg]) > estimate(&[]));
    assert!(estimate(&[Format::Avif]) > estimate(&[Format::Jpeg]) + 30 * info.pixels());
}
