//! Waiting without being deaf to the wish to stop.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::source::{Sink, SourceError};

/// How often the wish to stop is looked at while there is nothing else to do.
pub const POLL: Duration = Duration::from_millis(100);

/// Does what may take long (a name to resolve, a connection, a lock) on a thread of its own, so that the wish to stop is
/// heeded meanwhile: then the thread is left to end by itself, and there is no result.
pub fn patiently<T: Send + 'static>(
    sink: &dyn Sink,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Option<Result<T, SourceError>> {
    let (done, result) = mpsc::sync_channel(1);
    let spawned = std::thread::Builder::new().name("kafka-control".to_owned()).spawn(move || {
        // Nobody listens any more after a stop.
        let _ = done.send(work());
    });
    let failed = |source| Some(Err(SourceError::Io { what: "asking the cluster".to_owned(), source }));
    if let Err(error) = spawned {
        return failed(error);
    }
    loop {
        match result.recv_timeout(POLL) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Timeout) if sink.stopped() => return None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return failed(std::io::Error::other("the thread that asked is gone"));
            }
        }
    }
}
