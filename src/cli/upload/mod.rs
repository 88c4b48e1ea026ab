//! `pixerve upload`: sends pictures, each once, whatever breaks on the way, and waits for what becomes of them.

mod bars;
mod pictures;
mod sender;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use parking_lot::Mutex;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use self::bars::Bars;
use self::pictures::{Found, Omitted, Picture, find};
use self::sender::Sender;
use super::client::{CallerArgs, Client, Credentials, ServerArgs, Surroundings};
use super::error::CliError;
use super::exit::Exit;
use super::output::{self, OutputArgs, Plain};
use super::token::SignedJob;
use super::watch::watch;
use crate::error_chain::ErrorChain;
use crate::job::PresetName;

/// Jobs that are watched at once: a server gives an address 16 streams of events.
const WATCHES_MAX: usize = 8;

const EXAMPLES: &str = "\
Examples:
  pixerve upload --job job.json photo.jpg             sign a token with the keys that are here, and send one file
  pixerve upload --preset avatar photo.jpg            the same with a job that the server keeps under that name
  PIXERVE_TOKEN=... pixerve upload --server https://images.example holiday/
                                                      send all pictures of a directory with a token that has the job
  curl -s https://example.com/a.png | pixerve upload --job job.json --wait -
                                                      send the standard input, and wait until it is done
  pixerve upload --job job.json --wait --json *.jpg | jq -r '.status.files[].stored[].location'
                                                      print where everything is";

/// What to upload, where, and as whom.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct UploadArgs {
    /// Files; directories, of which all that are pictures are sent; - for the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// JSON file with the job, for a token that is signed here; a token that is given has its own
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    job: Option<PathBuf>,
    /// Preset of the server that says what to make, for a token that is signed here
    #[arg(long, value_name = "NAME", value_parser = preset, conflicts_with_all = ["job", "token"])]
    preset: Option<PresetName>,
    /// Wait until each job has ended, and fail if one does
    #[arg(long)]
    wait: bool,
    /// Files that are sent at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    concurrency: u8,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    caller: CallerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What became of one file.
struct Outcome {
    shown: String,
    /// What the server answered; with `--wait`, and the last status of the job.
    uploaded: Result<(Value, Option<Value>), CliError>,
}

pub(super) async fn upload(here: &Surroundings, args: UploadArgs) -> Result<Exit, CliError> {
    let client = here.client(&args.server)?;
    let (credentials, job) = credentials(here, &args)?;
    // The server is asked first: who can't reach it, or may not, is told before a directory is walked.
    let bytes_max = bytes_max(&client, &credentials, job.as_ref()).await?;
    let Found { pictures, omitted } = find(&args.files)?;
    let mut ends = report_omitted(args.output, omitted)?;

    let bars = Bars::new(pictures.len());
    let sender = Sender { client, credentials, job, bytes_max, bars: bars.clone() };
    let mut outcomes = start(sender, pictures, args.concurrency, args.wait);
    while let Some(outcome) = outcomes.recv().await {
        ends.push(bars.beside(|| report(args.output, &outcome))?);
        bars.done();
    }
    bars.clear();
    Ok(Exit::of_all(&ends))
}

/// The token to send, and the job to sign into it.
fn credentials(here: &Surroundings, args: &UploadArgs) -> Result<(Credentials, Option<SignedJob>), CliError> {
    let credentials = here.credentials(&args.caller, None)?;
    let job = match (&credentials, &args.job, &args.preset) {
        (Credentials::Signs(_), _, Some(preset)) => Some(SignedJob::of_preset(preset)),
        (Credentials::Signs(_), Some(file), None) => Some(SignedJob::read(here.config()?, file)?),
        (Credentials::Signs(_), None, None) => {
            let why = "--job FILE or --preset NAME says what to make of the pictures; README, \"Describe the job\", has such a \
                       file, and \"Presets\" what a preset is";
            return Err(CliError::Usage(why.to_owned()));
        }
        (Credentials::Given(_), None, None) => None,
        (Credentials::Given(_), ..) => {
            let why = "the token in PIXERVE_TOKEN has its own job; unset it to sign one with --job or --preset, or leave that out";
            return Err(CliError::Usage(why.to_owned()));
        }
    };
    Ok((credentials, job))
}

fn preset(text: &str) -> Result<PresetName, String> {
    PresetName::parse(text).ok_or_else(|| format!("must be {}", PresetName::RULE))
}

/// Bytes that the server takes of a file; none of a server that doesn't say.
async fn bytes_max(
    client: &Client,
    credentials: &Credentials,
    job: Option<&SignedJob>,
) -> Result<Option<u64>, CliError> {
    let jti = job.and_then(SignedJob::new_jti);
    let token = credentials.bearer_for(job, jti.as_deref())?;
    let request = client.request(Method::GET, "/limits", &[]).header(AUTHORIZATION, token);
    match client.json(request).await {
        Ok(limits) => Ok(limits["upload"]["bytes_max"].as_u64()),
        Err(CliError::Problem(problem)) if problem.status() == StatusCode::NOT_FOUND => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends all pictures, several at once, and watches their jobs beside: what becomes of each, as it is known.
fn start(sender: Sender, pictures: Vec<Picture>, concurrency: u8, wait: bool) -> UnboundedReceiver<Outcome> {
    let (outcomes, received) = unbounded_channel();
    let (accepted, to_watch) = unbounded_channel();
    let client = sender.client.clone();
    let (sender, pictures) = (Arc::new(sender), Arc::new(Mutex::new(pictures.into_iter())));
    let mut tasks = JoinSet::new();
    for _ in 0..concurrency {
        let (sender, pictures) = (Arc::clone(&sender), Arc::clone(&pictures));
        let (outcomes, accepted) = (outcomes.clone(), accepted.clone());
        tasks.spawn(async move {
            loop {
                let next = pictures.lock().next();
                let Some(picture) = next else { return };
                let uploaded = sender.send(&picture).await;
                match uploaded {
                    Ok(answer) if wait => forward(&accepted, (picture.shown, answer)),
                    uploaded => {
                        let uploaded = uploaded.map(|answer| (answer, None));
                        forward(&outcomes, Outcome { shown: picture.shown, uploaded });
                    }
                }
            }
        });
    }
    let to_watch = Arc::new(tokio::sync::Mutex::new(to_watch));
    for _ in 0..WATCHES_MAX {
        let (client, outcomes, to_watch) = (client.clone(), outcomes.clone(), Arc::clone(&to_watch));
        tasks.spawn(async move {
            loop {
                let next = to_watch.lock().await.recv().await;
                let Some((shown, answer)) = next else { return };
                let uploaded = until_ended(&client, answer).await;
                forward(&outcomes, Outcome { shown, uploaded });
            }
        });
    }
    // They end by themselves, once there is nothing left to send.
    tasks.detach_all();
    received
}

/// Whoever no longer listens has ended, and this with it.
fn forward<T>(sender: &UnboundedSender<T>, value: T) {
    let _ = sender.send(value);
}

async fn until_ended(client: &Client, answer: Value) -> Result<(Value, Option<Value>), CliError> {
    let Some(job_id) = answer["job_id"].as_str() else {
        return Err(client.not_understood("an accepted upload without `job_id`"));
    };
    let status = watch(client, job_id, |_| {}).await?;
    Ok((answer, Some(status)))
}

/// Tells of what was not sent. What is no picture is no failure.
fn report_omitted(output: OutputArgs, omitted: Vec<(String, Omitted)>) -> Result<Vec<Exit>, CliError> {
    let mut ends = Vec::new();
    for (shown, why) in omitted {
        match why {
            Omitted::NoPicture => {
                output.remark(format_args!("{}: no picture, not sent", Plain(&shown)));
                if output.json {
                    output::print(&json!({ "file": shown, "omitted": "no picture" }).to_string())?;
                }
            }
            Omitted::Unreadable(error) => ends.push(report(output, &Outcome { shown, uploaded: Err(error) })?),
        }
    }
    Ok(ends)
}

/// Tells what became of one file; how that ends.
fn report(output: OutputArgs, Outcome { shown, uploaded }: &Outcome) -> Result<Exit, CliError> {
    let file = Plain(shown);
    let (answer, status) = match uploaded {
        Ok(uploaded) => uploaded,
        Err(error) => {
            output::warn(format_args!("{file}: {}", ErrorChain(error)));
            if output.json {
                output::print(&json!({ "file": shown, "error": error.to_json() }).to_string())?;
            }
            return Ok(error.exit());
        }
    };
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let mut object = json!({ "file": shown });
    if let (Some(object), Some(answer)) = (object.as_object_mut(), answer.as_object()) {
        object.extend(answer.clone());
        object.extend(status.clone().map(|status| ("status".to_owned(), status)));
    }
    let state = status.as_ref().map_or_else(|| "accepted".to_owned(), |status| text(status, "state"));
    output.print(&object, || {
        let mut lines = format!("{}  {}  {file}", output::state(&state), Plain(&text(answer, "job_id")));
        for stored in status.iter().flat_map(stored_files) {
            lines.extend(["\n  ", &Plain(&stored).to_string()]);
        }
        lines
    })?;
    if let Some(error) = status.as_ref().and_then(|status| status["error"].as_str()) {
        output.remark(format_args!("{file}: {}", Plain(error)));
    }
    Ok(if matches!(state.as_str(), "accepted" | "completed") { Exit::Done } else { Exit::Failed })
}

/// Where everything of a job is.
fn stored_files(status: &Value) -> impl Iterator<Item = String> {
    let files = status["files"].as_array().map_or(&[][..], Vec::as_slice);
    let places = files.iter().flat_map(|file| file["stored"].as_array().map_or(&[][..], Vec::as_slice));
    places.filter_map(|place| place["location"].as_str().map(str::to_owned))
}
