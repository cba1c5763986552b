//! Starts and ends the server: binds, spawns, waits. It must not know what is served.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::app::{App, Info};
use super::board::{Actions, Board};
use super::metrics::{self, Renderer};
use super::router;
use super::settings::{ServeError, Settings};
use crate::engine::now_ms;

/// Headers of a request, all together, and the time a client may take to send them.
const HEADER_BYTES: usize = 32 << 10;
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long requests may go on after the end was asked for.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// A server that runs until it is stopped or dropped.
pub struct Server {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    stopping: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    runtime: runtime::Handle,
    /// Present when no runtime was given.
    own: Option<Runtime>,
}

impl Server {
    /// Starts on threads of its own.
    pub fn start(
        settings: Settings,
        board: Arc<Board>,
        actions: Arc<dyn Actions>,
        info: Info,
    ) -> Result<Self, ServeError> {
        let own = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("serve")
            .enable_all()
            .build()
            .map_err(ServeError::Runtime)?;
        let mut server = Self::start_on(own.handle().clone(), settings, board, actions, info, now_ms)?;
        server.own = Some(own);
        Ok(server)
    }

    /// Starts on a runtime that is there already. The clock gives milliseconds since 1970.
    pub fn start_on(
        runtime: runtime::Handle,
        settings: Settings,
        board: Arc<Board>,
        actions: Arc<dyn Actions>,
        info: Info,
        clock: fn() -> i64,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;

        let (stopping, stop) = watch::channel(false);
        let handle = Handle::new();
        let renderer = Renderer::new(settings.metrics.clone(), &info.version);
        let app = Arc::new(App::new(settings.clone(), board.clone(), actions, info, clock, stop));
        let entered = runtime.enter();
        let writer = tokio::spawn(metrics::keep_fresh(board, renderer, app.served.clone(), clock));
        let mut server = axum_server::from_tcp(listener).map_err(failed)?.handle(handle.clone()).http1_only();
        server.http_builder().http1().max_buf_size(HEADER_BYTES).header_read_timeout(HEADER_TIME);
        let service = router::router(app).into_make_service();
        let serving = match &settings.tls {
            Some(config) => {
                let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(config.clone()));
                spawn(server.acceptor(acceptor).serve(service))
            }
            None => spawn(server.serve(service)),
        };
        drop(entered);
        Ok(Self { address, handle, stopping, tasks: vec![serving, writer], runtime, own: None })
    }

    /// Where it listens; the port is the real one when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets requests come to their end for a few seconds, and ends. Must not be called from
    /// a thread of the runtime it runs on.
    pub fn stop(mut self) {
        self.ask_to_stop();
        let mut tasks = std::mem::take(&mut self.tasks).into_iter();
        if let Some(serving) = tasks.next() {
            let ended = async { tokio::time::timeout(LEAVE_WITHIN + Duration::from_secs(1), serving).await };
            if self.runtime.block_on(ended).is_err() {
                tracing::warn!("requests did not end in time and were cut off");
            }
        }
        tasks.for_each(|task| task.abort());
        if let Some(own) = self.own.take() {
            own.shutdown_timeout(Duration::from_secs(1));
        }
    }

    fn ask_to_stop(&self) {
        self.stopping.send_replace(true);
        self.handle.graceful_shutdown(Some(LEAVE_WITHIN));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        self.tasks.drain(..).for_each(|task| task.abort());
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}

fn spawn(serving: impl Future<Output = std::io::Result<()>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the server ended");
        }
    })
}
