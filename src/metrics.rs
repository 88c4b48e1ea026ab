//! What a monitoring system is told. Each room counts in a struct of its own and registers that here; what is a level, and
//! not a count, is read when someone asks.
//!
//! Counters live in memory: asking waits neither for a disk nor for a store. Labels come from fixed sets only, so no client
//! can make the number of series grow: they are `'static` words, and there from the start where their sets are known.

mod process;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::{prometheus_text, text};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

use self::process::ProcessMetrics;
use crate::setting;

/// Names of labels with their values.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];
/// A counter for each set of labels.
pub type CounterBy<const N: usize> = Family<Labels<N>, Counter>;
/// A whole number that goes up and down.
pub type Gauge = gauge::Gauge;
/// One that needn't be whole, such as seconds.
pub type FloatGauge = gauge::Gauge<f64, AtomicU64>;
/// A gauge for each set of labels.
pub type GaugeBy<const N: usize> = Family<Labels<N>, Gauge>;
/// The same of numbers that needn't be whole.
pub type FloatGaugeBy<const N: usize> = Family<Labels<N>, FloatGauge>;
/// A histogram for each set of labels.
pub type HistogramBy<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Upper bounds of buckets, in seconds: of answers.
pub const ANSWER_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Of jobs, from acceptance on.
pub const JOB_SECONDS: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Of single steps of a job, and of syncs.
pub const STEP_SECONDS: [f64; 10] = [0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// A histogram with [`ANSWER_SECONDS`].
#[must_use]
pub fn answer_seconds() -> Histogram {
    Histogram::new(ANSWER_SECONDS)
}

/// A histogram with [`JOB_SECONDS`].
#[must_use]
pub fn job_seconds() -> Histogram {
    Histogram::new(JOB_SECONDS)
}

/// A histogram with [`STEP_SECONDS`].
#[must_use]
pub fn step_seconds() -> Histogram {
    Histogram::new(STEP_SECONDS)
}

/// Has each of these sets of labels there from the start, at 0.
pub fn begin_at_zero<const N: usize, M: Clone, C: MetricConstructor<M>>(
    family: &Family<Labels<N>, M, C>,
    labels: impl IntoIterator<Item = Labels<N>>,
) {
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// The one that an `Accept` header asks for.
    #[must_use]
    pub fn asked_for(accept: &str) -> Self {
        let is_asked = accept.split(',').any(|range| range.trim().starts_with("application/openmetrics-text"));
        if is_asked { Self::OpenMetrics } else { Self::Text }
    }

    /// What it is called on the wire.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Where metrics are told beside the main address, and to whom there.
#[derive(Clone, Debug, Deserialize)]
pub struct MetricsSettings {
    /// An address for them alone; none for the main one only.
    #[serde(deserialize_with = "setting::optional_address")]
    pub addr: Option<SocketAddr>,
    /// What a scraper shows on the main address; none for admins' tokens only.
    #[serde(deserialize_with = "optional_token")]
    pub token: Option<SecretString>,
}

/// One that can be sent: as RFC 6750 has tokens, and long enough.
fn optional_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let token = setting::optional_secret(deserializer)?;
    let can_be_sent = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.as_ref().is_none_or(|token| token.expose_secret().bytes().all(can_be_sent)) {
        return Ok(token);
    }
    let expected = "letters, digits and -._~+/= alone, since it is sent in a header";
    Err(D::Error::invalid_value(Unexpected::Other("[redacted]"), &expected))
}

/// Everything that is told. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Parts>);

struct Parts {
    registry: Registry,
    /// What reads levels before they are told: one request after the other, so that none tells another's half.
    read_levels: Mutex<Vec<ReadLevel>>,
}

type ReadLevel = Box<dyn FnMut() + Send>;

/// Gathers what there is to be told.
pub struct MetricsBuilder {
    registry: Registry,
    read_levels: Vec<ReadLevel>,
}

impl Default for MetricsBuilder {
    /// With what every process tells of itself.
    fn default() -> Self {
        let mut builder = Self { registry: Registry::default(), read_levels: Vec::new() };
        let process = ProcessMetrics::default();
        process.register(&mut builder.registry);
        builder.read(move || process.read());
        builder
    }
}

impl MetricsBuilder {
    /// Where rooms register what they count.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Has `level` read whenever someone asks. It may not wait for anything.
    pub fn read(&mut self, level: impl FnMut() + Send + 'static) {
        self.read_levels.push(Box::new(level));
    }

    /// All of it.
    #[must_use]
    pub fn build(self) -> Metrics {
        Metrics(Arc::new(Parts { registry: self.registry, read_levels: Mutex::new(self.read_levels) }))
    }
}

impl Metrics {
    /// Everything, as of now.
    #[must_use]
    pub fn expose(&self, exposition: Exposition) -> String {
        let mut written = String::with_capacity(64 * 1024);
        let mut read_levels = self.0.read_levels.lock();
        for read in &mut *read_levels {
            read();
        }
        let encoded = match exposition {
            Exposition::Text => prometheus_text::encode(&mut written, &self.0.registry),
            Exposition::OpenMetrics => text::encode(&mut written, &self.0.registry),
        };
        encoded.expect("INVARIANT: a string takes whatever is written");
        written
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
