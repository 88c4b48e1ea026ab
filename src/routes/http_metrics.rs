//! What is counted of requests.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;

use super::files::private::ROUTE as PRIVATE_FILE;
use crate::job::ErrorCode;
use crate::metrics::{Counter, CounterBy, Family, Gauge, HistogramBy, Labels, Registry, answer_seconds, begin_at_zero};

/// Every route by its template, with its methods. `HEAD` goes wherever `GET` does.
const ROUTES: &[(&str, &[&str])] = &[
    ("/upload", &["POST"]),
    ("/status", &["GET"]),
    ("/events", &["GET"]),
    ("/cancel", &["DELETE"]),
    ("/jobs", &["GET"]),
    ("/erase", &["DELETE"]),
    ("/erasures/{erasure_id}", &["GET"]),
    ("/retry", &["POST"]),
    ("/reprocess", &["POST"]),
    ("/success", &["GET"]),
    ("/success/list", &["GET"]),
    ("/failures", &["GET"]),
    ("/failures/list", &["GET"]),
    ("/deliveries", &["GET"]),
    ("/deliveries/redeliver", &["POST"]),
    ("/limits", &["GET"]),
    ("/doctor", &["POST"]),
    ("/gc", &["POST"]),
    ("/gc/{gc_id}", &["GET"]),
    ("/openapi.json", &["GET"]),
    ("/docs", &["GET"]),
    ("/docs/{file}", &["GET"]),
    ("/register", &["GET", "POST", "PUT", "DELETE"]),
    ("/register/webhook-secret", &["POST"]),
    ("/presets", &["GET"]),
    ("/presets/{name}", &["GET", "PUT", "DELETE"]),
    ("/health", &["GET"]),
    ("/health/live", &["GET"]),
    ("/version", &["GET"]),
    ("/metrics", &["GET"]),
    ("/files/{*path}", &["GET"]),
    ("/image/{id}", &["GET"]),
    ("/manifest", &["GET"]),
    (PRIVATE_FILE, &["GET"]),
    ("/", &["GET"]),
    ("/page/{file}", &["GET"]),
    ("/demo-token", &["GET"]),
];
/// Of requests to addresses at which there is nothing.
const NO_ROUTE: &str = "none";
const UPLOAD: &str = "/upload";
/// The one way in which uploads come.
const MULTIPART: &str = "multipart";

/// Counts of requests. Clones are one.
#[derive(Clone, Debug)]
pub struct HttpMetrics(Arc<Families>);

/// Its code.
type StatusLabel = [(&'static str, u16); 1];

#[derive(Debug)]
struct Families {
    requests: Family<(Labels<2>, StatusLabel), Counter>,
    durations: HistogramBy<2>,
    connections: Gauge,
    uploads: CounterBy<2>,
    upload_bytes: Counter,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        let families = Families {
            requests: Family::default(),
            durations: HistogramBy::new_with_constructor(answer_seconds),
            connections: Gauge::default(),
            uploads: CounterBy::default(),
            upload_bytes: Counter::default(),
        };
        for (route, methods) in ROUTES {
            for labels in methods.iter().map(|method| [("method", *method), ("route", *route)]) {
                begin_at_zero(&families.durations, [labels]);
                drop(families.requests.get_or_create(&(labels, [("status", 200)])));
            }
        }
        begin_at_zero(&families.uploads, [None].into_iter().chain(UPLOAD_REFUSALS.map(Some)).map(upload));
        Self(Arc::new(families))
    }
}

/// What uploads are refused for most often; other codes are there once they occur.
const UPLOAD_REFUSALS: [ErrorCode; 15] = [
    ErrorCode::BadMultipart,
    ErrorCode::InvalidFields,
    ErrorCode::Unauthorized,
    ErrorCode::TooSlow,
    ErrorCode::TooLarge,
    ErrorCode::TooManyRequests,
    ErrorCode::DuplicateJob,
    ErrorCode::TooManyJobs,
    ErrorCode::UnsupportedImage,
    ErrorCode::DamagedImage,
    ErrorCode::ImageTooLarge,
    ErrorCode::QueueFull,
    ErrorCode::DiskFull,
    ErrorCode::Draining,
    ErrorCode::Unavailable,
];

fn upload(refused: Option<ErrorCode>) -> Labels<2> {
    [("via", MULTIPART), ("result", refused.map_or("accepted", ErrorCode::as_str))]
}

/// What is counted of one request, told when its answer has been sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestKind {
    /// `other` if it is none of HTTP's usual ones.
    pub(super) method: &'static str,
    route: &'static str,
}

impl RequestKind {
    /// That of a request with this method, whose route has this template.
    pub(super) fn of(method: &Method, template: Option<&str>) -> Self {
        let route = ROUTES.iter().find(|(route, _)| Some(*route) == template).map_or(NO_ROUTE, |(route, _)| route);
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        Self { method, route }
    }
}

impl HttpMetrics {
    /// Under their names.
    pub fn register(&self, registry: &mut Registry) {
        let Families { requests, durations, connections, uploads, upload_bytes } = &*self.0;
        registry.register("pixerve_http_requests", "Requests answered", requests.clone());
        let help = "From a request's head to the end of its answer";
        registry.register("pixerve_http_request_duration_seconds", help, durations.clone());
        registry.register("pixerve_http_connections", "Open connections", connections.clone());
        registry.register("pixerve_uploads", "Uploads by what came of them", uploads.clone());
        registry.register("pixerve_upload_bytes", "Bytes of uploads' bodies that were read", upload_bytes.clone());
    }

    /// A request was answered with `status`, and refused with `code` if with any, after so long; so many bytes of its body
    /// were read.
    pub(super) fn answered(
        &self,
        kind: RequestKind,
        status: u16,
        code: Option<ErrorCode>,
        took: Duration,
        bytes_in: u64,
    ) {
        let labels = [("method", kind.method), ("route", kind.route)];
        self.0.requests.get_or_create(&(labels, [("status", status)])).inc();
        self.0.durations.get_or_create(&labels).observe(took.as_secs_f64());
        if (kind.method, kind.route) == ("POST", UPLOAD) {
            self.0.upload_bytes.inc_by(bytes_in);
            if status == 200 || code.is_some() {
                self.0.uploads.get_or_create(&upload(code)).inc();
            }
        }
    }

    /// Counts a connection until the guard is dropped.
    #[must_use]
    pub fn connection(&self) -> ConnectionCount {
        self.0.connections.inc();
        ConnectionCount(self.clone())
    }
}

/// Keeps a connection counted.
#[derive(Debug)]
pub struct ConnectionCount(HttpMetrics);

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.0.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::routes::{files, limited_routes, unlimited_routes};

    #[test]
    fn every_route_of_the_router_is_counted_by_its_name() {
        let described = limited_routes().merge(unlimited_routes()).into_openapi();
        let paths = serde_json::to_value(&described.paths).expect("JSON");
        let methods = |item: &Value| -> BTreeSet<String> {
            item.as_object().expect("a path").keys().map(|method| method.to_uppercase()).collect()
        };
        let described: BTreeMap<_, _> =
            paths.as_object().expect("paths").iter().map(|(path, item)| (path.as_str(), methods(item))).collect();
        let counted: BTreeMap<_, BTreeSet<_>> = ROUTES
            .iter()
            .map(|(route, methods)| {
                // What has slashes in it, has no word of its own in a description.
                let path = match *route {
                    "/files/{*path}" => files::PATH,
                    PRIVATE_FILE => files::private::PATH,
                    route => route,
                };
                (path, methods.iter().map(|method| (*method).to_owned()).collect())
            })
            .collect();
        assert_eq!(counted, described, "on the left ROUTES, on the right what the handlers say");
    }
}
