//! One job's pixels, from the original's bytes to every variant's.
//!
//! A job decodes and resizes on the thread that called; its encodes are tasks of one pool that all jobs share. Decoding
//! and resizing don't use a second core, encoding uses all that the pool has, so with two jobs in flight no core waits.

use std::any::Any;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use rayon::{Scope, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::credits::credits;
use super::decode::{DecodedSource, open};
use super::outputs::{alike, is_animated};
use super::placeholder::placeholder;
use super::plan::{PLACEHOLDER_SIDE, ResizeStep, plan, reduction, shows_all, with_placeholder};
use super::sizes::Sizes;
use super::step_times::{RenderStep, StepTimer};
use super::verify::verify;
use super::{CodecStep, Layout, PipelineError, PixelLimits, SourceInfo, animation, compose, inspect};
use crate::encoder::{EncodeError, EncodeSettings, Picture, Registry};
use crate::job::{Placeholder, VariantSpec, Warning, Warnings};

/// A finished variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The file.
    pub bytes: Vec<u8>,
    /// What is to be said of it.
    pub warnings: Warnings,
}

/// Makes variants. One for the whole process, shared by all jobs.
#[derive(Debug)]
pub struct Engine {
    pool: ThreadPool,
    /// Where originals are decoded that are too large to be held whole: one after the other, each on one thread.
    large: ThreadPool,
    registry: Registry,
    limits: PixelLimits,
    timer: Option<Arc<dyn StepTimer>>,
}

impl Engine {
    /// An engine that encodes on `threads` threads, 0 for as many as there are cores, with the encoders of `registry`.
    ///
    /// # Errors
    /// If the threads can't be started.
    pub fn new(threads: usize, limits: PixelLimits, registry: Registry) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("encode-{i}")).build()?;
        let large = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "decode-large".to_owned()).build()?;
        Ok(Self { pool, large, registry, limits, timer: None })
    }

    /// The same, which tells `timer` how long its steps take.
    #[must_use]
    pub fn timed_by(self, timer: Arc<dyn StepTimer>) -> Self {
        Self { timer: Some(timer), ..self }
    }

    fn time<T>(&self, step: RenderStep, work: impl FnOnce() -> T) -> T {
        let Some(timer) = &self.timer else { return work() };
        let began = timer.now();
        let done = work();
        timer.took(step, timer.now().saturating_sub(began));
        done
    }

    /// Makes those of `variants` that are `wanted`, by their indices, and hands each to `deliver`, with its index, as soon
    /// as it is done: in any order, from any thread, several at once. Returns when all are delivered or one has failed.
    /// They come out byte for byte as they would with all the others: at which scale the source is decoded, and which size
    /// is made of which, is a matter of all of them.
    ///
    /// A `source` that is given away is freed as soon as it is decoded. `decoded` is called once, then; animations are
    /// decoded frame by frame and not waited for.
    ///
    /// Blocks; call it from a thread that may. `cancelled` is asked between steps. A panic in a codec, in `deliver` or
    /// in `cancelled` is an error of this job and harms no other.
    ///
    /// # Errors
    /// The first that stopped the job. What was delivered before stays delivered.
    pub fn render<'a>(
        &self,
        source: impl Into<Cow<'a, [u8]>>,
        variants: &[VariantSpec],
        wanted: &(dyn Fn(usize) -> bool + Sync),
        cancelled: &(dyn Fn() -> bool + Sync),
        decoded: &dyn Fn(),
        deliver: &(dyn Fn(usize, Rendered) + Sync),
    ) -> Result<(), PipelineError> {
        let source = source.into();
        let task = Task { variants, wants_placeholder: false, wanted, cancelled, decoded, deliver };
        catch_panic(CodecStep::Decoding, || self.render_source(source, &task)).map(|_| ())
    }

    /// The same, and what stands in the picture's place: of the picture as all of it is shown, upright and in sRGB.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with_placeholder<'a>(
        &self,
        source: impl Into<Cow<'a, [u8]>>,
        variants: &[VariantSpec],
        wanted: &(dyn Fn(usize) -> bool + Sync),
        cancelled: &(dyn Fn() -> bool + Sync),
        decoded: &dyn Fn(),
        deliver: &(dyn Fn(usize, Rendered) + Sync),
    ) -> Result<Option<Placeholder>, PipelineError> {
        let source = source.into();
        let task = Task { variants, wants_placeholder: true, wanted, cancelled, decoded, deliver };
        catch_panic(CodecStep::Decoding, || self.render_source(source, &task))
    }

    fn render_source(&self, source: Cow<'_, [u8]>, task: &Task<'_>) -> Result<Option<Placeholder>, PipelineError> {
        let Task { variants, wants_placeholder, wanted, cancelled, decoded, deliver } = *task;
        let info = inspect(Cursor::new(&source[..]), &self.limits)?;
        animation::check(&source, &info, variants, &self.limits)?;
        let exif = credits(&source, info.format).exif();
        let (moving, still): (Vec<usize>, Vec<usize>) =
            (0..variants.len()).partition(|i| is_animated(&variants[*i], &info));
        let layouts: Vec<_> = still.iter().map(|i| (*i, Layout::of(info.width, info.height, &variants[*i]))).collect();
        let steps = plan(&layouts);
        let steps = if wants_placeholder { with_placeholder(steps, &info) } else { steps };
        if cancelled() {
            return Err(PipelineError::Cancelled);
        }
        let tolerant = still.iter().all(|i| variants[*i].tolerant);
        let opened = if steps.is_empty() { None } else { Some(self.decode(&source, &info, &steps, tolerant)?) };
        decoded();
        // Freed here, if it was given away, unless it moves: animations are decoded frame by frame.
        let source = (!moving.is_empty()).then_some(source);
        let job = Rendering {
            engine: self,
            source: source.as_deref().unwrap_or_default(),
            info,
            exif,
            variants,
            steps,
            is_whole: opened.as_ref().is_none_or(|opened| opened.is_whole),
            wanted,
            cancelled,
            deliver,
            wants_placeholder,
            placeholder: Mutex::default(),
            failure: Mutex::default(),
        };
        self.pool.in_place_scope(|scope| {
            if let Err(error) = catch_panic(CodecStep::Decoding, || job.run(scope, moving, opened)) {
                job.fail(error);
            }
        });
        job.failure.into_inner().map_or_else(|| Ok(job.placeholder.into_inner()), Err)
    }

    /// Decodes the source as large as `steps` need it.
    fn decode(
        &self,
        source: &[u8],
        info: &SourceInfo,
        steps: &[ResizeStep],
        tolerant: bool,
    ) -> Result<DecodedSource, PipelineError> {
        let reduction = reduction(steps, info, &self.limits);
        let open = || self.time(RenderStep::Decode(info.format), || open(source, info, tolerant, reduction));
        if reduction > 1 { self.large.install(open) } else { open() }
    }
}

/// What is asked of [`Engine::render`].
struct Task<'a> {
    variants: &'a [VariantSpec],
    wants_placeholder: bool,
    wanted: &'a (dyn Fn(usize) -> bool + Sync),
    cancelled: &'a (dyn Fn() -> bool + Sync),
    decoded: &'a dyn Fn(),
    deliver: &'a (dyn Fn(usize, Rendered) + Sync),
}

/// One call of [`Engine::render`].
struct Rendering<'a> {
    engine: &'a Engine,
    /// The original, for animations; empty if there are none.
    source: &'a [u8],
    info: SourceInfo,
    /// What every variant says about its origin, if anything.
    exif: Option<Vec<u8>>,
    variants: &'a [VariantSpec],
    /// The sizes of the variants that don't move.
    steps: Vec<ResizeStep>,
    /// Whether nothing of the picture that doesn't move is missing.
    is_whole: bool,
    wanted: &'a (dyn Fn(usize) -> bool + Sync),
    cancelled: &'a (dyn Fn() -> bool + Sync),
    deliver: &'a (dyn Fn(usize, Rendered) + Sync),
    wants_placeholder: bool,
    placeholder: Mutex<Option<Placeholder>>,
    /// Why the job has stopped.
    failure: Mutex<Option<PipelineError>>,
}

impl Rendering<'_> {
    /// Resizes on this thread; every picture's encodes are spawned as soon as it exists.
    fn run<'s>(
        &'s self,
        scope: &Scope<'s>,
        moving: Vec<usize>,
        opened: Option<DecodedSource>,
    ) -> Result<(), PipelineError> {
        for group in self.wanted_groups(moving) {
            scope.spawn(move |_| self.run_task(CodecStep::Decoding, || self.animate(&group)));
        }
        let Some(opened) = opened else { return Ok(()) };
        let mut sizes = Sizes::new(&self.info, &self.steps, opened.stored, opened.icc.as_deref())?;
        // The smallest that has as many pixels as are looked at.
        let mut all_shown: Option<Arc<Picture>> = None;
        for step in &self.steps {
            self.check_stopped()?;
            let picture = self.engine.time(RenderStep::Resize, || sizes.next())?;
            let is_large = picture.width.max(picture.height) >= PLACEHOLDER_SIDE;
            if self.wants_placeholder && shows_all(&step.layout, &self.info) && (is_large || all_shown.is_none()) {
                all_shown = Some(Arc::clone(&picture));
            }
            for group in self.wanted_groups(slowest_first(step, self.variants)) {
                let picture = Arc::clone(&picture);
                scope.spawn(move |_| self.run_task(CodecStep::Encoding, || self.encode(&group, picture)));
            }
        }
        if let Some(picture) = all_shown {
            *self.placeholder.lock() = Some(placeholder(&picture)?);
        }
        Ok(())
    }

    /// Those of `indices` that are wanted; what comes out alike is made once.
    fn wanted_groups(&self, mut indices: Vec<usize>) -> Vec<Vec<usize>> {
        indices.retain(|index| (self.wanted)(*index));
        alike(indices, self.variants, &self.info)
    }

    fn encode(&self, group: &[usize], picture: Arc<Picture>) -> Result<(), PipelineError> {
        let variant = &self.variants[group[0]];
        let layout = Layout::of(self.info.width, self.info.height, variant);
        let picture = if compose::is_needed(&picture, &layout, variant) {
            Arc::new(compose::compose(&picture, &layout, variant))
        } else {
            picture
        };
        let settings = encode_settings(variant, &self.info, &layout);
        // For tests, as in the crate's `failpoint`: a codec that panics in the midst of a picture.
        fail::fail_point!("encoder::panic");
        let encoder = self.engine.registry.encoder(variant.format);
        let bytes = self.engine.time(RenderStep::Encode(variant.format), || encoder.encode(&picture, &settings))?;
        drop(picture);
        self.finish(group, bytes, self.is_whole)
    }

    fn animate(&self, group: &[usize]) -> Result<(), PipelineError> {
        let stopped = || self.check_stopped().is_err();
        let (bytes, is_whole) = animation::render(self.source, &self.info, &self.variants[group[0]], &stopped)?;
        self.finish(group, bytes, is_whole)
    }

    /// Hands a file out as each variant of `group`.
    fn finish(&self, group: &[usize], bytes: Vec<u8>, is_whole: bool) -> Result<(), PipelineError> {
        let variant = &self.variants[group[0]];
        let format = variant.format;
        let (width, height) = Layout::of(self.info.width, self.info.height, variant).output_size();
        let bytes = match &self.exif {
            Some(exif) => self.engine.registry.encoder(format).with_exif(bytes, exif, (width, height)),
            None => bytes,
        };
        self.engine
            .time(RenderStep::Verify(format), || verify(&bytes, format, width, height))
            .map_err(|detail| PipelineError::Encode(EncodeError { format, width, height, detail }))?;
        let warnings: Warnings = (!is_whole).then_some(Warning::Truncated).into_iter().collect();
        let mut rendered = Some(Rendered { width, height, bytes, warnings });
        for (nth, index) in group.iter().enumerate() {
            self.check_stopped()?;
            let is_last = nth + 1 == group.len();
            let file = if is_last { rendered.take() } else { rendered.clone() };
            if let Some(file) = file {
                (self.deliver)(*index, file);
            }
        }
        Ok(())
    }

    /// Runs one task of the pool unless the job has stopped, and notes its failure.
    fn run_task(&self, step: CodecStep, task: impl FnOnce() -> Result<(), PipelineError>) {
        let outcome = catch_panic(step, || {
            self.check_stopped()?;
            task()
        });
        if let Err(error) = outcome {
            self.fail(error);
        }
    }

    /// Notes why the job stops. The first reason counts: later ones follow from it.
    fn fail(&self, error: PipelineError) {
        self.failure.lock().get_or_insert(error);
    }

    fn check_stopped(&self) -> Result<(), PipelineError> {
        let failed = self.failure.lock().is_some();
        if failed || (self.cancelled)() { Err(PipelineError::Cancelled) } else { Ok(()) }
    }
}

/// The variants of a step, those first that take longest, so that none of them runs alone at the end.
fn slowest_first(step: &ResizeStep, variants: &[VariantSpec]) -> Vec<usize> {
    let mut order = step.variants.clone();
    order.sort_by_key(|i| Reverse(variants[*i].format.info().slowness));
    order
}

/// Runs `work`; a panic becomes an error.
fn catch_panic<T>(step: CodecStep, work: impl FnOnce() -> Result<T, PipelineError>) -> Result<T, PipelineError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload: Box<dyn Any + Send>| Err(PipelineError::panicked(step, &*payload)))
}

/// How a variant is encoded. What has a palette and isn't scaled has all its colours still, and loses none.
pub(super) fn encode_settings(variant: &VariantSpec, source: &SourceInfo, layout: &Layout) -> EncodeSettings {
    let few_colours = source.indexed && layout.is_scaled();
    EncodeSettings { quality: variant.quality, speed: variant.speed, few_colours }
}
