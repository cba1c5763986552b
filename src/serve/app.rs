//! What every request handler may look at, and the bounds they share.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{Semaphore, watch};

use super::auth::session::Sessions;
use super::board::{Actions, Board};
use super::metrics::Served;
use super::settings::Settings;

/// Requests answered at the same time, and browsers that listen for changes.
const REQUESTS: usize = 256;
const LISTENERS: usize = 64;

/// What the board does not know about the process.
#[derive(Clone, Debug)]
pub struct Info {
    pub version: String,
}

impl Default for Info {
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

pub struct App {
    pub board: Arc<Board>,
    pub actions: Arc<dyn Actions>,
    pub settings: Settings,
    pub info: Info,
    pub served: Arc<Served>,
    pub sessions: Sessions,
    pub clock: fn() -> i64,
    /// Becomes true when the server is to end.
    pub stopping: watch::Receiver<bool>,
    pub requests: Arc<Semaphore>,
    pub listeners: Arc<Semaphore>,
}

impl App {
    pub fn new(
        settings: Settings,
        board: Arc<Board>,
        actions: Arc<dyn Actions>,
        info: Info,
        clock: fn() -> i64,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            board,
            actions,
            settings,
            info,
            served: Arc::default(),
            sessions: Sessions::new(),
            clock,
            stopping,
            requests: Arc::new(Semaphore::new(REQUESTS)),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
        }
    }

    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// Runs what may wait for a disk or a lock.
    pub async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn Actions) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let actions = self.actions.clone();
        match tokio::task::spawn_blocking(move || act(&*actions)).await {
            Ok(done) => done,
            Err(error) => Err(format!("it failed inside sordini: {error}")),
        }
    }
}

/// A body from what an iterator gives.
pub struct Pieces<I>(pub I);

impl<I: Iterator + Unpin> Stream for Pieces<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}
