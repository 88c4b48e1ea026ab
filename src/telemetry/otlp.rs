//! Spans on their way to a collector, by OTLP over HTTP. How is said by the variables of OpenTelemetry's own specification,
//! which its SDK reads: only from the environment, since they are one set for all programs of a machine.
//!
//! Nobody waits for the collector. Spans that have ended go through a bounded queue to a thread of the SDK's, and are
//! dropped when it is full.

use std::fmt::Arguments;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{Span as _, Status, Tracer, TracerProvider};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData};
use tracing::{info, warn};

use super::trace::{SpanKind, opentelemetry_context};
use crate::error_chain::ErrorChain;
use crate::job::TraceContext;
use crate::tls;
use crate::version::VERSION;

/// For what waits when the server stops, whatever the collector does.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The service that spans are said to be of, unless the environment says another.
const SERVICE_NAME: &str = "pixerve";

/// Makes the spans of this process. Nothing while none are exported.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Why spans can't be exported.
#[derive(Debug, thiserror::Error)]
enum TracesError {
    #[error("setting up the client for the collector")]
    Client(#[from] reqwest::Error),
    #[error("setting up the exporter")]
    Exporter(#[from] ExporterBuildError),
}

/// Exports what has ended.
#[derive(Debug, Default)]
#[must_use = "what is left at the end is exported by `end`"]
pub struct TraceExport(Option<SdkTracerProvider>);

impl TraceExport {
    /// Begins to export spans, if the environment names a collector. That it can't is logged, and no reason not to serve.
    pub fn start() -> Self {
        if !is_wanted() {
            return Self::default();
        }
        match provider() {
            Ok(provider) => {
                let _ = TRACER.set(provider.tracer(SERVICE_NAME));
                info!("traces are exported by OTLP");
                Self(Some(provider))
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "traces can't be exported; look at the variables OTEL_EXPORTER_OTLP_*");
                Self::default()
            }
        }
    }

    /// Exports what is left, for at most two seconds.
    pub fn end(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(FLUSH_TIMEOUT)) {
            warn!(error = %ErrorChain(&error), "the last spans could not be exported");
        }
    }
}

/// Whether there is a collector to export to. The default of OpenTelemetry, one on this machine, isn't taken for granted.
fn is_wanted() -> bool {
    let is = |name: &str, value: &str| variable(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
    let has_endpoint =
        super::COLLECTOR_VARIABLES.iter().any(|name| variable(name).is_some_and(|endpoint| !endpoint.is_empty()));
    if !has_endpoint || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return false;
    }
    let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    if let Some(protocol) = protocols.iter().find_map(|name| variable(name)).filter(|name| name != "http/protobuf") {
        warn!(protocol, "traces are exported as http/protobuf, the only protocol that this server speaks");
    }
    true
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

fn provider() -> Result<SdkTracerProvider, TracesError> {
    // A thread of its own, as whoever exports: the server's own are not for this.
    let client = reqwest::Client::builder().no_proxy();
    let client = reqwest::blocking::ClientBuilder::from(tls::without_missing(client)).build()?;
    let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
    // What the environment says.
    let named = Resource::builder().build().get(&Key::new("service.name"));
    let name = named.filter(|name| !name.as_str().starts_with("unknown_service")).unwrap_or(SERVICE_NAME.into());
    let resource =
        Resource::builder().with_service_name(name).with_attribute(KeyValue::new("service.version", VERSION.version));
    let exporter = Told { exporter, is_failing: AtomicBool::new(false) };
    Ok(SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build())
}

/// Tells the log once that a collector can't be reached, and once that it can again.
#[derive(Debug)]
struct Told {
    exporter: SpanExporter,
    is_failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        match self.exporter.export(batch).await {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    info!("spans are exported again");
                }
            }
            Err(error) => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    warn!(error = %ErrorChain(&error), "spans can't be exported and are dropped until the collector takes them");
                }
            }
        }
        // Told already; the SDK would tell it each time.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A span that begins now, and where it belongs. None while none are exported.
pub(super) fn start(
    kind: SpanKind,
    name: Arguments<'_>,
    parent: Option<&TraceContext>,
) -> Option<(Span, TraceContext)> {
    let tracer = TRACER.get()?;
    let kind = match kind {
        SpanKind::Server => opentelemetry::trace::SpanKind::Server,
        SpanKind::Client => opentelemetry::trace::SpanKind::Client,
        SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
    };
    let builder = tracer.span_builder(name.to_string()).with_kind(kind);
    let span = tracer.build_with_context(builder, &opentelemetry_context(parent));
    let context = span.span_context();
    let (trace_id, span_id) = (context.trace_id().to_string(), context.span_id().to_string());
    let told = TraceContext::new(&trace_id, &span_id, context.trace_flags().to_u8(), context.trace_state().header());
    Some((span, told))
}

/// A span that is over.
pub(super) fn past(name: Arguments<'_>, parent: Option<&TraceContext>, took: Duration, ended_ago: Duration) {
    let Some(tracer) = TRACER.get() else { return };
    let ended = opentelemetry::time::now() - ended_ago;
    let builder = tracer.span_builder(name.to_string()).with_start_time(ended - took);
    tracer.build_with_context(builder, &opentelemetry_context(parent)).end_with_timestamp(ended);
}

pub(super) fn set(span: &mut Span, key: &'static str, value: Value) {
    span.set_attribute(KeyValue::new(key, value));
}

pub(super) fn fail(span: &mut Span, error_type: String) {
    span.set_status(Status::error(""));
    span.set_attribute(KeyValue::new("error.type", error_type));
}
