//! What a process takes: memory and descriptors.

use std::fs;

/// Looks at one process now and then.
pub(super) struct Gauge {
    pid: u32,
    looks: Vec<Look>,
}

#[derive(Clone, Copy)]
struct Look {
    kib: u64,
    descriptors: u64,
}

impl Gauge {
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, looks: Vec::new() }
    }

    /// One look. The process must live.
    pub(super) fn look(&mut self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kib = line.trim().trim_end_matches(" kB").parse().expect("a number");
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("it lives").count() as u64;
        self.looks.push(Look { kib, descriptors });
    }

    /// Panics unless the last third's medians are about the second sixth's: at most a quarter and 32 MiB more memory (the
    /// database's cache fills as records come), at most 32 more descriptors (connections come and go). The first sixth
    /// is for warming up.
    pub(super) fn assert_flat(&self) -> String {
        let n = self.looks.len();
        assert!(n >= 12, "{n} looks are too few to compare");
        let (early, late) = (&self.looks[n / 6..n / 3], &self.looks[n * 2 / 3..]);
        let kib = |looks: &[Look]| median(looks.iter().map(|look| look.kib));
        let descriptors = |looks: &[Look]| median(looks.iter().map(|look| look.descriptors));
        let shown = format!(
            "one life of {n} s: memory {} MiB early, {} MiB in the middle, {} MiB late, {} MiB at most; descriptors {} \
             early, {} late",
            kib(early) / 1024,
            kib(&self.looks[n / 3..n * 2 / 3]) / 1024,
            kib(late) / 1024,
            self.looks.iter().map(|look| look.kib).max().unwrap_or(0) / 1024,
            descriptors(early),
            descriptors(late)
        );
        assert!(kib(late) <= kib(early) * 5 / 4 + 32 * 1024, "memory grows: {shown}");
        assert!(descriptors(late) <= descriptors(early) + 32, "descriptors leak: {shown}");
        shown
    }
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}
