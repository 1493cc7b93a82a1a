//! How far a long measurement is: on standard error, and only where somebody looks.
//!
//! Owns the bar. Never wakes up by itself while something is measured: it draws when it is told, and that is between
//! rounds.

use indicatif::{ProgressBar, ProgressStyle};

/// The bar.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(parts: usize) -> Self {
        let bar = ProgressBar::new(u64::try_from(parts).unwrap_or(0));
        let style = ProgressStyle::with_template("[{elapsed_precise}] {bar:24} {pos}/{len} {prefix}: {msg}");
        Self { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())) }
    }

    /// The next part begins.
    pub(crate) fn begin(&self, part: &'static str) {
        if !self.bar.prefix().is_empty() {
            self.bar.inc(1);
        }
        self.bar.set_prefix(part);
        self.bar.set_message("");
    }

    /// What is being measured.
    pub(crate) fn at(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Says something while the bar steps aside.
    pub(crate) fn aside(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
