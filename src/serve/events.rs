//! `/events`: server-sent events that say that something changed, never what. A browser then fetches its page again, so
//! there is one way to draw things and a lost event costs nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use tokio::sync::mpsc;

use super::app::App;

/// Changes within this time are one event.
const GATHER: Duration = Duration::from_secs(2);
/// A comment this often, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

pub async fn events(State(app): State<Arc<App>>) -> Response {
    let Ok(permit) = app.listeners.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many listeners; reload the page by hand\n").into_response();
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let mut changes = app.board.changes();
    let mut stopping = app.stopping.clone();
    tokio::spawn(async move {
        let _permit = permit;
        let mut text = Bytes::from_static(b"retry: 5000\n\n");
        // A full channel means that the browser does not read: the next event will do.
        while !sender.is_closed() {
            if sender.send(text).await.is_err() {
                return;
            }
            text = tokio::select! {
                _ = sender.closed() => return,
                _ = stopping.changed() => return,
                changed = changes.changed() => match changed {
                    Err(_) => return,
                    Ok(()) => {
                        tokio::time::sleep(GATHER).await;
                        let count = *changes.borrow_and_update();
                        format!("event: change\ndata: {count}\n\n").into()
                    }
                },
                () = tokio::time::sleep(KEEP_ALIVE) => Bytes::from_static(b": still here\n\n"),
            };
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(Events(receiver))).into_response()
}

struct Events(mpsc::Receiver<Bytes>);

impl Stream for Events {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(Ok))
    }
}
