//! Bars on a terminal, while files are on their way. Elsewhere nothing of them is seen.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The bar of all files, above it one a file that is being sent. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
}

impl Bars {
    /// Of so many files.
    pub(super) fn new(files: usize) -> Self {
        // On standard error, and hidden if that is no terminal.
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(files as u64).with_style(style("{pos}/{len} files {wide_bar} {elapsed}")));
        Self { all, total }
    }

    /// A bar of one file.
    pub(super) fn file(&self, name: &str, bytes: u64) -> ProgressBar {
        let style = style("{wide_msg} {bytes:>10}/{total_bytes} {bar:20}");
        let bar = ProgressBar::new(bytes).with_style(style).with_message(name.to_owned());
        self.all.insert_before(&self.total, bar)
    }

    /// One more is done.
    pub(super) fn done(&self) {
        self.total.inc(1);
    }

    /// Does `print` while no bar is in the way.
    pub(super) fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.all.suspend(print)
    }

    /// Takes them all away.
    pub(super) fn clear(&self) {
        self.total.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("INVARIANT: a template of ours")
}
