//! The rows of the table, each from interleaved rounds of the same work on both sides.

use std::path::{Path, PathBuf};

use crate::equal::{Equal, Match, Point};
use crate::job::{Job, Outcome, Variant, Work};
use crate::lab::Lab;
use crate::photos;
use crate::report::{Ratios, Report, median, ratios};
use crate::s3::s3_at;
use crate::service::{Service, in_directory, in_s3};

const SIZES: [u32; 3] = [1600, 800, 400];
/// The `speed` whose WebP method is sharp's default, 4.
const SHARPS_WEBP_METHOD: u8 = 4;

/// How much is done.
pub(crate) struct Extent {
    /// Photos of 12 MP; fewer where sharp takes seconds for each.
    pub(crate) photos: usize,
    pub(crate) photos_slow: usize,
    pub(crate) rounds: usize,
    pub(crate) rounds_slow: usize,
}

/// A run under way.
pub(crate) struct Contest<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) photos: Vec<PathBuf>,
    pub(crate) extent: Extent,
    pub(crate) report: Report,
}

/// sharp's variants of a format at our look.
struct Tuned {
    ours: Point,
    theirs: Match,
    variant: Variant,
}

impl Tuned {
    /// sharp's bytes at exactly our score: what ours are held against.
    fn bytes_ratio(&self) -> f64 {
        self.ours.bytes / self.theirs.bytes
    }

    fn note(&self, what: &str) -> String {
        format!(
            "{what}: our default scores {:.1}, sharp at quality {} {:.1}; our bytes at equal score x {:.3}",
            self.ours.score,
            self.theirs.nearest.quality,
            self.theirs.nearest.score,
            self.bytes_ratio()
        )
    }
}

impl Contest<'_> {
    /// {jpg, webp} x 3 and with AVIF, latency, service.
    pub(crate) fn run(&mut self) {
        let photos = self.photos.clone();
        let slow = photos[..self.extent.photos_slow].to_vec();
        let (jpeg, webp, webp_4, avif_0) = {
            let equal = Equal::new(self.lab, &photos, &SIZES);
            let webp_4 = Variant { speed: Some(SHARPS_WEBP_METHOD), ..Variant::new("webp", 0) };
            (
                tuned(&equal, &Variant::new("jpg", 0), 80),
                tuned(&equal, &Variant::new("webp", 0), 80),
                tuned(&equal, &webp_4, 80),
                tuned(&equal, &Variant { effort: Some(0), ..Variant::new("avif", 0) }, 60),
            )
        };
        let avif = tuned(&Equal::new(self.lab, &slow, &SIZES), &Variant::new("avif", 0), 60);
        for (what, format) in [
            ("JPEG", &jpeg),
            ("WebP", &webp),
            ("WebP at sharp's method", &webp_4),
            ("AVIF, effort 0", &avif_0),
            ("AVIF, sharp's default effort", &avif),
        ] {
            self.report.note(format.note(what));
        }
        self.base(&jpeg, &webp, &webp_4);
        self.with_avif(&jpeg, &webp, &avif_0, &avif, &slow);
        self.service();
    }

    fn base(&mut self, jpeg: &Tuned, webp: &Tuned, webp_4: &Tuned) {
        let (ours, theirs) =
            (every_size(&[ours_of("jpg"), ours_of("webp")]), every_size(&[jpeg.theirs(), webp.theirs()]));
        let at_method = Variant { speed: Some(SHARPS_WEBP_METHOD), ..ours_of("webp") };
        let at_method = every_size(&[ours_of("jpg"), at_method]);
        let best = self.best(&theirs, &self.photos.clone());
        let jobs = [
            Job::new(Work::Pixerve, &self.photos, &ours),
            Job::new(Work::Pixerve, &self.photos, &at_method),
            best.clone(),
            Job { in_flight: 1, ..Job::new(Work::Natural, &self.photos, &theirs) },
        ];
        let [defaults, method_4, best_runs, natural] = self.rounds(self.extent.rounds, &jobs);
        let bytes = total_ratio(&[jpeg, webp]);
        let scores =
            jpeg.ours.score >= jpeg.theirs.nearest.score - 0.3 && webp.ours.score >= webp.theirs.nearest.score - 0.3;
        let (b, n) = (ratios(&defaults, &best_runs), ratios(&defaults, &natural));
        self.report.row(
            "{jpg, webp} x 3, our defaults; best / natural script",
            "<= 0.52 / <= 0.33; bytes <= 1.03",
            format!("{}; {}; bytes {bytes:.3}", show("best", b), show("natural", n)),
            b.wall <= 0.52 && n.wall <= 0.33 && bytes <= 1.03 && scores,
        );
        let bytes = webp_4.bytes_ratio();
        let (b, n) = (ratios(&method_4, &best_runs), ratios(&method_4, &natural));
        self.report.row(
            "the same at sharp's WebP method",
            "<= 0.75 / <= 0.50; bytes equal",
            format!("{}; {}; WebP bytes {bytes:.3}", show("best", b), show("natural", n)),
            b.wall <= 0.75 && n.wall <= 0.50 && bytes <= 1.02,
        );
        self.latency(&ours, &best);
    }

    fn with_avif(&mut self, jpeg: &Tuned, webp: &Tuned, avif_0: &Tuned, avif: &Tuned, slow: &[PathBuf]) {
        let ours = every_size(&[ours_of("jpg"), ours_of("webp"), ours_of("avif")]);
        let fastest = every_size(&[jpeg.theirs(), webp.theirs(), avif_0.theirs()]);
        let best = self.best(&fastest, slow);
        let best = Job { photos: self.photos.clone(), ..best };
        let [a, b] = self.rounds(self.extent.rounds, &[Job::new(Work::Pixerve, &self.photos, &ours), best.clone()]);
        let (time, bytes) = (ratios(&a, &b), avif_0.bytes_ratio());
        self.report.row(
            "+ AVIF, sharp at effort 0",
            "<= 0.60; AVIF bytes <= 1.00",
            format!("{}; AVIF bytes {bytes:.3}", show("best", time)),
            time.wall <= 0.60 && bytes <= 1.0,
        );
        let default = every_size(&[jpeg.theirs(), webp.theirs(), avif.theirs()]);
        let jobs = [
            Job::new(Work::Pixerve, slow, &ours),
            Job { photos: slow.to_vec(), variants: default, warm: false, ..best.clone() },
        ];
        let [a, b] = self.rounds(self.extent.rounds_slow, &jobs);
        let (time, bytes) = (ratios(&a, &b), avif.bytes_ratio());
        self.report.row(
            "+ AVIF, sharp's default",
            "<= 0.10; AVIF bytes <= 1.05",
            format!("{}; AVIF bytes {bytes:.3}", show("best", time)),
            time.wall <= 0.10 && bytes <= 1.05,
        );
        self.memory(&ours, &fastest, &best);
    }

    /// One photo after the other, alone on the machine.
    fn latency(&mut self, ours: &[Variant], best: &Job) {
        let one = |job: Job| Job { in_flight: 1, photos: self.photos[..2].to_vec(), repeats: 3, ..job };
        let ours = one(Job::new(Work::Pixerve, &[], ours));
        let theirs = [Some(1), Some(2)].map(|concurrency| one(Job { concurrency, ..best.clone() }));
        let [a, b, c] = self.rounds(self.extent.rounds, &[ours, theirs[0].clone(), theirs[1].clone()]);
        let (one, two) = (ratios(&a, &b), ratios(&a, &c));
        let worst = if one.wall > two.wall { one } else { two };
        let ms = median(a.iter().map(|o| o.wall_ms / 6.0).collect());
        self.report.row(
            "one 12 MP job, latency",
            "<= 0.55",
            format!("{} ({ms:.0} ms)", show("best", worst)),
            worst.wall <= 0.55,
        );
    }

    fn memory(&mut self, ours: &[Variant], theirs: &[Variant], best: &Job) {
        let sources = [(12, 0.35, None), (50, 0.5, Some((8192, 6144))), (100, 0.6, Some((11_520, 8640)))];
        for (megapixels, target, size) in sources {
            let photo = size.map_or_else(|| self.photos[0].clone(), |(w, h)| photos::of_size(self.lab.root(), w, h));
            let photo = [photo];
            let alone = |job: Job| Job { photos: photo.to_vec(), in_flight: 1, warm: false, ..job };
            let jobs =
                [alone(Job::new(Work::Pixerve, &[], ours)), alone(Job { variants: theirs.to_vec(), ..best.clone() })];
            let [a, b] = self.rounds(self.extent.rounds.min(2), &jobs);
            let peak = |runs: &[Outcome]| median(runs.iter().map(|o| o.peak_kib as f64 / 1024.0).collect());
            let r = ratios(&a, &b);
            self.report.row(
                &format!("peak memory of one 9-file job, {megapixels} MP"),
                &format!("<= {target}"),
                format!("{:.2} ({:.0} of {:.0} MiB), {}", r.peak, peak(&a), peak(&b), show("time", r)),
                r.peak <= target,
            );
        }
    }

    /// RGBA of 1600 pixels, the encoders alone.
    pub(crate) fn png(&mut self) {
        let pictures = photos::with_alpha(self.lab.root(), 4);
        let ours = Job { in_flight: 1, repeats: 2, ..Job::new(Work::Png, &pictures, &[]) };
        let theirs = Job { concurrency: Some(1), ..ours.clone() };
        let [a, b] = self.rounds(self.extent.rounds, &[ours, theirs]);
        let r = ratios(&a, &b);
        let bytes = a[0].bytes["png"] as f64 / b[0].bytes["png"] as f64;
        self.report.row(
            "PNG with alpha against sharp adaptive",
            "CPU <= 0.45; bytes <= 1.03",
            format!("CPU {:.2}; bytes {bytes:.3}", r.cpu),
            r.cpu <= 0.45 && bytes <= 1.03,
        );
    }

    /// The server beside the pipeline that it holds, and beside itself without the sandbox.
    pub(crate) fn service(&mut self) {
        let variants = every_size(&[ours_of("jpg"), ours_of("webp")]);
        let program = Path::new(env!("CARGO_BIN_EXE_pixerve"));
        let sandboxed = Service::start(program, &self.lab.empty("service"), "on");
        let open = Service::start(program, &self.lab.empty("service-open"), "off");
        let stored = in_directory(&variants);
        // Long enough that the start of the children, which are gone by the next round, weighs as little as in use.
        let pipeline = Job { repeats: 4, ..Job::new(Work::Pixerve, &self.photos, &variants) };
        for service in [&sandboxed, &open] {
            service.run_busy(&self.photos[..1], &stored, 1);
        }
        let [mut whole, mut in_process, mut alone] = [const { Vec::new() }; 3];
        let [mut one, mut one_in_process] = [const { Vec::new() }; 2];
        for round in 0..self.extent.rounds {
            let mut sides = [(&sandboxed, &mut whole), (&open, &mut in_process)];
            // Whoever comes first finds another machine than who comes second.
            sides.rotate_left(round % 2);
            for (service, outcomes) in sides {
                outcomes.push(service.run_busy(&self.photos, &stored, pipeline.repeats));
            }
            alone.push(self.lab.run(&pipeline));
            one.push(sandboxed.run(&self.photos[..2], &stored, 3, 1).wall_ms / 6.0);
            one_in_process.push(open.run(&self.photos[..2], &stored, 3, 1).wall_ms / 6.0);
        }
        let (one, one_in_process) = (median(one), median(one_in_process));
        let photos = (self.photos.len() * pipeline.repeats) as f64;
        let of_each = |value: fn(&Outcome) -> f64| median(whole.iter().map(|o| value(o) / photos).collect());
        self.report.note(format!(
            "the service makes {:.1} photos a second into {{jpg, webp}} x 3, with {:.0} ms of CPU each",
            1e3 / of_each(|o| o.wall_ms),
            of_each(|o| o.cpu_ms)
        ));
        let r = ratios(&whole, &alone);
        self.report.row(
            "service over pipeline, upload to completed",
            "<= 1.10",
            format!("time {:.2}, CPU {:.2}; one upload alone {one:.0} ms", r.wall, r.cpu),
            r.wall <= 1.10,
        );
        let r = ratios(&whole, &in_process);
        self.report.row(
            "service, each job in a process of its own over all in one",
            "<= 1.03; one alone + 10 ms",
            format!("time {:.2}, CPU {:.2}; one upload alone {:+.0} ms", r.wall, r.cpu, one - one_in_process),
            r.wall <= 1.03 && one - one_in_process <= 10.0,
        );
        drop((sandboxed, open));
        self.stores(&variants, program);
    }

    /// What it costs to hand variants to a store on this machine, and both ways beside another build of Pixerve.
    fn stores(&mut self, variants: &[Variant], program: &Path) {
        const REPEATS: usize = 3;
        const BUCKET: &str = "bench";
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread");
        let s3 = runtime.block_on(s3_at(([127, 0, 0, 1], 0).into(), &[BUCKET]));
        let start = |name: &str, program: &Path| {
            let service = Service::start(program, &self.lab.empty(name), "on");
            let key = service.register(&s3.registration(BUCKET));
            let jobs = [in_directory(variants), in_s3(variants, &key)];
            for job in &jobs {
                service.run_busy(&self.photos[..1], job, 1);
            }
            (service, jobs)
        };
        let now = start("service-now", program);
        let before = std::env::var_os("BENCH_BEFORE").map(|before| start("service-before", Path::new(&before)));
        let sides: Vec<_> = std::iter::once(&now).chain(&before).collect();
        // Of each build, into the directory and into the store.
        let mut outcomes = vec![[const { Vec::new() }; 2]; sides.len()];
        for round in 0..self.extent.rounds {
            for turn in 0..2 * sides.len() {
                let turn = (turn + round) % (2 * sides.len());
                let ((service, jobs), way) = (sides[turn / 2], turn % 2);
                outcomes[turn / 2][way].push(service.run_busy(&self.photos, &jobs[way], REPEATS));
            }
        }
        let r = ratios(&outcomes[0][1], &outcomes[0][0]);
        self.report.row(
            "service, storing in S3 on this machine over its own directory",
            "-",
            format!("time {:.2}, CPU {:.2}", r.wall, r.cpu),
            true,
        );
        let Some(before) = outcomes.get(1) else { return };
        for (way, what) in ["its own directory", "S3 on this machine"].into_iter().enumerate() {
            let r = ratios(&outcomes[0][way], &before[way]);
            self.report.row(
                &format!("service over the build of BENCH_BEFORE, storing in {what}"),
                "<= 1.03",
                format!("time {:.2}, CPU {:.2}", r.wall, r.cpu),
                r.wall <= 1.03,
            );
        }
    }

    /// sharp's best script for this work: the fastest of a few settings.
    fn best(&self, variants: &[Variant], photos: &[PathBuf]) -> Job {
        let job = |concurrency, in_flight| Job {
            concurrency: Some(concurrency),
            in_flight,
            ..Job::new(Work::Best, photos, variants)
        };
        let jobs = [job(1, 2), job(2, 2), job(1, 3), job(1, 4)];
        let runs = self.rounds(2, &jobs);
        let fastest = |i: &usize| runs[*i].iter().map(|o| o.wall_ms).fold(f64::INFINITY, f64::min);
        let chosen = (0..jobs.len()).min_by(|a, b| fastest(a).total_cmp(&fastest(b))).expect("there are some");
        jobs[chosen].clone()
    }

    /// Every job once a round, one after the other.
    fn rounds<const N: usize>(&self, rounds: usize, jobs: &[Job; N]) -> [Vec<Outcome>; N] {
        let mut outcomes = [const { Vec::new() }; N];
        for _ in 0..rounds {
            for (job, outcomes) in jobs.iter().zip(&mut outcomes) {
                outcomes.push(self.lab.run(job));
            }
        }
        outcomes
    }
}

impl Tuned {
    fn theirs(&self) -> Variant {
        Variant { quality: Some(self.theirs.nearest.quality), ..self.variant.clone() }
    }
}

fn tuned(equal: &Equal<'_>, variant: &Variant, guess: u8) -> Tuned {
    let ours = equal.ours(variant);
    Tuned { ours, theirs: equal.find(ours, variant, guess), variant: variant.clone() }
}

fn ours_of(format: &str) -> Variant {
    Variant::new(format, 0)
}

fn every_size(variants: &[Variant]) -> Vec<Variant> {
    let sized = |variant: &Variant| SIZES.map(|size| Variant { size, ..variant.clone() });
    variants.iter().flat_map(sized).collect()
}

/// Bytes of several formats together.
fn total_ratio(formats: &[&Tuned]) -> f64 {
    formats.iter().map(|f| f.ours.bytes).sum::<f64>() / formats.iter().map(|f| f.theirs.bytes).sum::<f64>()
}

fn show(what: &str, ratios: Ratios) -> String {
    format!("{what} {:.2} (CPU {:.2})", ratios.wall, ratios.cpu)
}
