//! Log lines in memory, for tests that ask what was logged and, above all, what was not.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tracing::{Dispatch, Level};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::output::{LogFormat, lines};

/// Takes down every event of every level as a JSON line, with the fields of its spans.
///
/// Hand [`Capture::dispatch`] to `tracing::dispatcher::set_default` for this thread, or to
/// `WithSubscriber::with_subscriber` for a future.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    written: Arc<Mutex<Vec<u8>>>,
}

impl Capture {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A subscriber whose events end up here.
    #[must_use]
    pub fn dispatch(&self) -> Dispatch {
        let everything = LevelFilter::from_level(Level::TRACE);
        Dispatch::new(Registry::default().with(lines(LogFormat::Json, self.clone(), false).with_filter(everything)))
    }

    /// All lines so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.written.lock()
    }
}

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Capture {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use serde_json::Value;

    use super::*;
    use crate::telemetry::request_span;

    #[test]
    fn an_event_carries_the_request_it_belongs_to() {
        let capture = Capture::new();
        tracing::dispatcher::with_default(&capture.dispatch(), || {
            let _entered = request_span("r-1", &http::Method::GET, "/health", None).entered();
            tracing::debug!(answer = 42, "asked");
        });
        let line: Value = serde_json::from_str(capture.text().trim()).expect("one JSON line");
        assert_eq!(line["message"], "asked");
        assert_eq!(line["answer"], 42);
        assert_eq!(line["spans"][0]["request_id"], "r-1");
        assert_eq!(line["spans"][0]["method"], "GET");
    }

    #[test]
    fn a_secret_that_is_logged_is_redacted() {
        let capture = Capture::new();
        let secret = SecretString::from("hunter2");
        tracing::dispatcher::with_default(&capture.dispatch(), || tracing::info!(?secret, "oops"));
        assert!(capture.text().contains("oops"));
        assert!(!capture.text().contains("hunter2"), "{}", capture.text());
    }
}
