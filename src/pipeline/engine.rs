//! One job's pixels, from the original's bytes to every variant's.
//!
//! A job decodes and resizes on the thread that called; its encodes are tasks of one pool that all jobs share. Decoding
//! and resizing don't use a second core, encoding uses all that the pool has, so with two jobs in flight no core waits.

use std::any::Any;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use fast_image_resize::Resizer;
use rayon::{Scope, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::colour::Converter;
use super::credits::credits;
use super::decode::decode;
use super::orient::{stored_region, swaps_sides, upright};
use super::outputs::is_animated;
use super::plan::{Step, plan, within};
use super::raster::Raster;
use super::resize::resize;
use super::verify::verify;
use super::{Layout, PipelineError, PixelLimits, SourceInfo, animation, compose, inspect, memory};
use crate::encoder::{Credits, EncodeError, EncodeSettings, Picture, Registry};
use crate::job::{Format, VariantSpec};

/// A finished variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Makes variants. One for the whole process, shared by all jobs.
#[derive(Debug)]
pub struct Engine {
    pool: ThreadPool,
    registry: Registry,
    limits: PixelLimits,
}

impl Engine {
    /// An engine that encodes on `threads` threads, 0 for as many as there are cores, with the encoders built in.
    ///
    /// # Errors
    /// If the threads can't be started.
    pub fn new(threads: usize, limits: PixelLimits) -> Result<Self, ThreadPoolBuildError> {
        Self::with_registry(threads, limits, Registry::built_in())
    }

    /// The same with other encoders.
    ///
    /// # Errors
    /// If the threads can't be started.
    pub fn with_registry(
        threads: usize,
        limits: PixelLimits,
        registry: Registry,
    ) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("encode-{i}")).build()?;
        Ok(Self { pool, registry, limits })
    }

    /// The limits that every source is held against.
    pub fn limits(&self) -> &PixelLimits {
        &self.limits
    }

    /// Bytes that rendering `variants` of a source is expected to need at its peak, besides the original's own bytes:
    /// the decoded source and the decoder's own planes, one picture a size, and the working memory of as many of the
    /// hungriest encoders as there are threads (AVIF 44 bytes a pixel, WebP 12, PNG 10, JPEG 4).
    pub fn memory_estimate(&self, source: &SourceInfo, variants: &[VariantSpec]) -> u64 {
        memory::estimate(source, variants, self.pool.current_num_threads())
    }

    /// Makes every variant of `source` and hands each to `deliver`, with its index into `variants`, as soon as it is
    /// done: in any order, from any thread, several at once. Returns when all are delivered or one has failed.
    ///
    /// Blocks; call it from a thread that may. `cancelled` is asked between steps. A panic in a codec, in `deliver` or
    /// in `cancelled` is an error of this job and harms no other.
    ///
    /// # Errors
    /// The first that stopped the job. What was delivered before stays delivered.
    pub fn render(
        &self,
        source: &[u8],
        variants: &[VariantSpec],
        cancelled: &(dyn Fn() -> bool + Sync),
        deliver: &(dyn Fn(usize, Rendered) + Sync),
    ) -> Result<(), PipelineError> {
        guarded(|| {
            let info = inspect(Cursor::new(source), &self.limits)?;
            animation::check(source, &info, variants, &self.limits)?;
            let credits = credits(source, info.format);
            let failure = Mutex::default();
            let job = Rendering { engine: self, source, info, credits, variants, cancelled, deliver, failure };
            self.pool.in_place_scope(|scope| {
                if let Err(error) = guarded(|| job.run(scope)) {
                    job.fail(error);
                }
            });
            job.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
        })
    }
}

/// One call of [`Engine::render`].
struct Rendering<'a> {
    engine: &'a Engine,
    source: &'a [u8],
    info: SourceInfo,
    /// What every variant says about its origin.
    credits: Credits,
    variants: &'a [VariantSpec],
    cancelled: &'a (dyn Fn() -> bool + Sync),
    deliver: &'a (dyn Fn(usize, Rendered) + Sync),
    /// Why the job has stopped.
    failure: Mutex<Option<PipelineError>>,
}

impl Rendering<'_> {
    /// Decodes and resizes on this thread; every picture's encodes are spawned as soon as it exists.
    fn run<'s>(&'s self, scope: &Scope<'s>) -> Result<(), PipelineError> {
        let layouts: Vec<(usize, Layout)> = (0..self.variants.len())
            .filter(|i| !is_animated(&self.variants[*i], &self.info))
            .map(|i| (i, Layout::of(self.info.width, self.info.height, &self.variants[i])))
            .collect();
        for index in (0..self.variants.len()).filter(|i| is_animated(&self.variants[*i], &self.info)) {
            scope.spawn(move |_| self.settle(|| self.animate(index)));
        }
        if layouts.is_empty() {
            return Ok(());
        }
        let tolerant = layouts.iter().all(|(i, _)| self.variants[*i].tolerant);
        self.check_stopped()?;
        let decoded = decode(self.source, &self.info, tolerant)?;
        let converter = Converter::new(&decoded.raster, decoded.icc.as_deref());
        let steps = plan(&layouts);
        let mut sizes = Sizes { info: &self.info, source: Some(decoded.raster), made: Vec::new(), steps: &steps };
        let mut resizer = Resizer::new();
        for (i, step) in steps.iter().enumerate() {
            self.check_stopped()?;
            let picture = Arc::new(sizes.make(i, &mut resizer, &converter)?);
            for index in hungriest_first(step, self.variants) {
                let picture = Arc::clone(&picture);
                scope.spawn(move |_| self.settle(|| self.encode(index, &picture)));
            }
        }
        Ok(())
    }

    fn encode(&self, index: usize, picture: &Arc<Picture>) -> Result<(), PipelineError> {
        let variant = &self.variants[index];
        let layout = Layout::of(self.info.width, self.info.height, variant);
        let composed;
        let picture: &Picture = if compose::is_needed(picture, &layout, variant) {
            composed = compose::compose(Picture::clone(picture), &layout, variant);
            &composed
        } else {
            picture
        };
        let (format, width, height) = (variant.format, picture.width, picture.height);
        let encoder = self.engine.registry.encoder(format).ok_or_else(|| {
            let detail = "there is no encoder for it".to_owned();
            PipelineError::Encode(EncodeError { format, width, height, detail })
        })?;
        let settings = EncodeSettings { quality: variant.quality, speed: variant.speed };
        let bytes = encoder.encode(picture, &settings)?;
        self.hand_out(index, bytes)
    }

    fn animate(&self, index: usize) -> Result<(), PipelineError> {
        let stopped = || self.check_stopped().is_err();
        let bytes = animation::render(self.source, &self.info, &self.variants[index], &stopped)?;
        self.hand_out(index, bytes)
    }

    fn hand_out(&self, index: usize, bytes: Vec<u8>) -> Result<(), PipelineError> {
        let variant = &self.variants[index];
        let format = variant.format;
        let (width, height) = Layout::of(self.info.width, self.info.height, variant).output_size();
        let bytes = self.credits.put_into(bytes, format, width, height);
        verify(&bytes, format, width, height)
            .map_err(|detail| PipelineError::Encode(EncodeError { format, width, height, detail }))?;
        self.check_stopped()?;
        (self.deliver)(index, Rendered { width, height, bytes });
        Ok(())
    }

    /// Runs one task of the pool unless the job has stopped, and notes its failure.
    fn settle(&self, task: impl FnOnce() -> Result<(), PipelineError>) {
        let outcome = guarded(|| {
            self.check_stopped()?;
            task()
        });
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    /// Notes why the job stops. The first reason counts: later ones follow from it.
    fn fail(&self, error: PipelineError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn check_stopped(&self) -> Result<(), PipelineError> {
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if failed || (self.cancelled)() { Err(PipelineError::Cancelled) } else { Ok(()) }
    }
}

/// The sizes made so far, each kept as long as a later one is made from it.
struct Sizes<'a> {
    info: &'a SourceInfo,
    /// As stored, not yet upright.
    source: Option<Raster>,
    /// Upright.
    made: Vec<Option<Raster>>,
    steps: &'a [Step],
}

impl Sizes<'_> {
    fn make(&mut self, i: usize, resizer: &mut Resizer, converter: &Converter) -> Result<Picture, PipelineError> {
        let Step { layout, from, .. } = &self.steps[i];
        let raster = match from {
            Some(earlier) => {
                let earlier_layout = &self.steps[*earlier].layout;
                let raster = self.made[*earlier].as_ref().ok_or_else(|| PipelineError::bad_image("a size is gone"))?;
                resize(resizer, raster, within(layout.region, earlier_layout), layout.width, layout.height)?
            }
            None => self.make_from_source(layout, i, resizer)?,
        };
        let picture = converter.convert(&raster)?;
        self.made.push(self.is_needed(Some(i), i).then_some(raster));
        for earlier in 0..i {
            if !self.is_needed(Some(earlier), i) {
                self.made[earlier] = None;
            }
        }
        Ok(picture)
    }

    fn make_from_source(&mut self, layout: &Layout, i: usize, resizer: &mut Resizer) -> Result<Raster, PipelineError> {
        let orientation = self.info.orientation;
        let raster = self.source.as_ref().ok_or_else(|| PipelineError::bad_image("the source is gone"))?;
        let (width, height) = (layout.width, layout.height);
        let (width, height) = if swaps_sides(orientation) { (height, width) } else { (width, height) };
        let region = stored_region(layout.region, raster.width, raster.height, orientation);
        let whole = region.width >= f64::from(raster.width) && region.height >= f64::from(raster.height);
        let last = !self.is_needed(None, i);
        let scaled = if !whole || (width, height) != (raster.width, raster.height) {
            resize(resizer, raster, region, width, height)?
        } else if last {
            self.source.take().ok_or_else(|| PipelineError::bad_image("the source is gone"))?
        } else {
            raster.clone()
        };
        if last {
            self.source = None;
        }
        Ok(upright(scaled, orientation))
    }

    /// Whether a step after `i` is made from the step `from`, or from the source.
    fn is_needed(&self, from: Option<usize>, i: usize) -> bool {
        self.steps[i + 1..].iter().any(|step| step.from == from)
    }
}

/// The variants of a step, those first that take longest: what is started last should not run alone at the end.
fn hungriest_first(step: &Step, variants: &[VariantSpec]) -> Vec<usize> {
    let mut order = step.variants.clone();
    order.sort_by_key(|i| match variants[*i].format {
        Format::Avif => 0,
        Format::Png => 1,
        Format::Webp => 2,
        Format::Jpeg => 3,
    });
    order
}

/// Runs `work`; a panic becomes an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, PipelineError>) -> Result<T, PipelineError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload: Box<dyn Any + Send>| Err(PipelineError::panicked(&*payload)))
}
