//! Follows a job to its end, by its events.

use std::time::Duration;

use eventsource_stream::{Event, Eventsource};
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::attempts::Attempts;
use super::client::Client;
use super::error::CliError;

/// A stream on which nothing comes for so long is dead: a server sends a sign of life every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// For how long a server may be gone.
const GIVE_UP_AFTER: Duration = Duration::from_mins(5);

/// How a connection to the events of a job ended.
enum StreamEnd {
    /// The job has ended; its status, if it was told.
    Job(Option<Value>),
    /// The connection has, or was closed after its time.
    Connection(CliError),
}

/// Waits for the end of a job: its last status. `on_status` is told of each before.
///
/// # Errors
/// If there is no such job, or the server is gone for long.
pub(super) async fn watch(client: &Client, job_id: &str, mut on_status: impl FnMut(&Value)) -> Result<Value, CliError> {
    let mut attempts = Attempts::for_at_most(GIVE_UP_AFTER);
    let mut last_id = None;
    loop {
        let end = match connect(client, job_id, last_id.as_deref()).await {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => StreamEnd::Job(None),
            Ok(response) => {
                let mut on_event = |event: &Event, status: Option<&Value>| {
                    attempts.succeeded();
                    last_id = Some(event.id.clone()).filter(|id| !id.is_empty());
                    status.into_iter().for_each(&mut on_status);
                };
                follow(client, response, &mut on_event).await
            }
            Err(error) => StreamEnd::Connection(error),
        };
        match end {
            StreamEnd::Job(Some(status)) => return Ok(status),
            StreamEnd::Job(None) => match status(client, job_id).await {
                Ok(status) => return Ok(status),
                Err(error) => attempts.wait_after(error).await?,
            },
            StreamEnd::Connection(error) => attempts.wait_after(error).await?,
        }
    }
}

/// What `/status` says of a job, which is named by its id or its hash.
pub(super) async fn status(client: &Client, job: &str) -> Result<Value, CliError> {
    client.json(client.request(Method::GET, "/status", &[job_parameter(job)])).await
}

/// The parameter that names a job: an id is a UUID, and no hash is one.
pub(super) fn job_parameter(job: &str) -> (&'static str, &str) {
    (if uuid::Uuid::parse_str(job).is_ok() { "job_id" } else { "hash" }, job)
}

async fn connect(client: &Client, job_id: &str, last_id: Option<&str>) -> Result<Response, CliError> {
    let mut request = client.request(Method::GET, "/events", &[("job_id", job_id)]);
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    timeout(SILENCE_MAX, client.success(request)).await.unwrap_or_else(|_| Err(silent(client)))
}

/// Reads events until the job or the connection has ended.
async fn follow(client: &Client, response: Response, on_event: &mut impl FnMut(&Event, Option<&Value>)) -> StreamEnd {
    let mut events = std::pin::pin!(chunks(client, response).eventsource());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(eventsource_stream::EventStreamError::Transport(error)) => return StreamEnd::Connection(error),
            Err(error) => return StreamEnd::Connection(client.not_understood(error.to_string())),
        };
        // One file more is in the next status, too.
        let is_status = matches!(event.event.as_str(), "status" | "end");
        let status = match serde_json::from_str::<Value>(&event.data) {
            Ok(status) => is_status.then_some(status),
            Err(error) => return StreamEnd::Connection(client.not_understood(format!("an event: {error}"))),
        };
        on_event(&event, status.as_ref());
        if event.event == "end" {
            return StreamEnd::Job(status);
        }
    }
    // After an hour, or where the server stops.
    StreamEnd::Connection(silent(client))
}

/// The bytes of an answer; an error where none come for long, not even a sign of life.
fn chunks(client: &Client, response: Response) -> impl Stream<Item = Result<bytes::Bytes, CliError>> {
    stream::unfold(Some(response), move |response| async move {
        let mut response = response?;
        match timeout(SILENCE_MAX, response.chunk()).await {
            Ok(Ok(chunk)) => chunk.map(|chunk| (Ok(chunk), Some(response))),
            Ok(Err(error)) => Some((Err(client.broken(error)), None)),
            Err(_) => Some((Err(silent(client)), None)),
        }
    })
}

fn silent(client: &Client) -> CliError {
    CliError::Stalled { server: client.server().to_owned(), waited: SILENCE_MAX }
}
