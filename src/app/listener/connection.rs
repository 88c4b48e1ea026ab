//! One connection, from its acceptance to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Version;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tower::ServiceExt;
use tracing::debug;

use super::ListenerStop;
use super::activity::{Activity, ActivityStream, Overstay};
use super::answer::{Answer, AnswerBody};
use super::places::{Place, Places};
use super::request_id::{Answers, RequestIdStream};
use crate::clock::SharedClock;
use crate::config::ConnectionLimits;
use crate::error_chain::ErrorChain;
use crate::routes::{CrossOrigin, Peer, Refusal, RequestOrigin};

/// Between two looks at how long a connection may stay; less where its limits are short.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For the first request of a connection that is to close and had none yet.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);
const FIRST_REQUEST_LOOK: Duration = Duration::from_millis(10);
/// For a connection that was asked to close, whatever it does.
const CLOSE_GRACE: Duration = Duration::from_millis(500);
/// For one that has nothing to answer from then on.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that has its place.
pub(super) struct Connection {
    pub(super) builder: Arc<Builder<TokioExecutor>>,
    pub(super) router: Router,
    pub(super) cross_origin: Arc<CrossOrigin>,
    pub(super) clock: SharedClock,
    pub(super) limits: ConnectionLimits,
    pub(super) places: Places,
    pub(super) peer: Peer,
    pub(super) place: Place,
    pub(super) stop: ListenerStop,
}

impl Connection {
    pub(super) async fn serve(self, stream: TcpStream) {
        let Self { builder, router, cross_origin, clock, limits, places, peer, place, stop } = self;
        let _place = place;
        let (activity, answers) = (Activity::new(), Answers::default());
        let service = {
            let (activity, answers, places) = (activity.clone(), answers.clone(), places.clone());
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                let is_http2 = request.version() == Version::HTTP_2;
                let place = is_http2.then(|| places.try_take(peer));
                let has_place = place.as_ref().is_none_or(Option::is_some);
                let answer = Answer::begin(activity.clone(), answers.begin(), is_http2, place.flatten());
                respond(router.clone(), Arc::clone(&cross_origin), request, has_place, answer)
            })
        };
        let stream = RequestIdStream::new(ActivityStream::new(stream, activity.clone()), clock, answers, peer);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        // Whether to close or to cut: a connection that is to close may answer what it has begun to.
        let to_close = async {
            tokio::select! {
                () = stop.close.cancelled() => first_request(&activity).await,
                () = made_room(&activity, &places) => debug!(peer = %peer.0, "idle connection closed to make room"),
            }
        };
        let served = tokio::select! {
            served = connection.as_mut() => Some(served),
            () = to_close => None,
            overstay = overstayed(&activity, &limits) => {
                debug!(peer = %peer.0, ?overstay, "connection closed");
                if overstay != Overstay::Idle {
                    return;
                }
                None
            }
        };
        let served = if let Some(served) = served {
            served
        } else {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection.as_mut() => served,
                () = stop.cut.cancelled() => return debug!(peer = %peer.0, "request in flight cut by the stop"),
                overstay = lingered(&activity, &limits) => {
                    return debug!(peer = %peer.0, ?overstay, "closing connection cut");
                }
            }
        };
        if let Err(error) = served {
            debug!(peer = %peer.0, error = %ErrorChain(&*error), "connection failed");
        }
    }
}

async fn respond(
    router: Router,
    cross_origin: Arc<CrossOrigin>,
    request: Request<Incoming>,
    has_place: bool,
    answer: Answer,
) -> Result<Response<AnswerBody>, Infallible> {
    if !has_place {
        let mut response = Refusal::NoPlace.into_response();
        cross_origin.share(&RequestOrigin::of(&request), &mut response);
        return Ok(answer.with(response));
    }
    router.oneshot(request.map(Body::new)).await.map(|response| answer.with(response))
}

/// Returns once the connection has stayed for longer than it may.
async fn overstayed(activity: &Activity, limits: &ConnectionLimits) -> Overstay {
    let shortest = limits.header_timeout.min(limits.keep_alive_timeout).min(limits.write_timeout);
    let mut looks = interval((shortest / 10).clamp(Duration::from_millis(1), LOOK_EVERY));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(overstay) = activity.overstay(limits) {
            return overstay;
        }
    }
}

/// Returns once a connection has had a request; soon, if none comes: one that was accepted the moment before is owed an
/// answer.
async fn first_request(activity: &Activity) {
    let waiting = async {
        while !activity.had_request() {
            sleep(FIRST_REQUEST_LOOK).await;
        }
    };
    // Either way it may close.
    let _: Result<(), _> = timeout(FIRST_REQUEST_GRACE, waiting).await;
}

/// Returns once someone waits for this connection's place, and it is idle.
async fn made_room(activity: &Activity, places: &Places) {
    loop {
        places.crowded().await;
        if activity.makes_room() {
            return;
        }
    }
}

/// Returns once a connection that was asked to close has stayed for longer than it may, or has nothing to answer and
/// stays all the same.
async fn lingered(activity: &Activity, limits: &ConnectionLimits) -> Overstay {
    sleep(CLOSE_GRACE).await;
    let closing = ConnectionLimits {
        header_timeout: limits.header_timeout.min(CLOSE_TIMEOUT),
        keep_alive_timeout: limits.keep_alive_timeout.min(CLOSE_TIMEOUT),
        ..limits.clone()
    };
    overstayed(activity, &closing).await
}
