//! Requests that a machine invents after the server's description, at length: none is answered as it isn't described.
//!
//! `crate::http::description` has a short run of the same.

use super::figure;
use crate::http::description::schemathesis::find_nothing_at_length;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn thousands_of_invented_requests_get_no_answer_that_is_not_described() {
    for (identity, run) in find_nothing_at_length().await {
        figure(
            "description",
            format!("{identity}: {} requests to {} operations, nothing found", run.requests, run.operations),
        );
    }
}
