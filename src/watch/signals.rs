//! What the operating system asks of the daemon.

use crossbeam_channel::{Receiver, unbounded};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// SIGTERM or Ctrl-C: commit and leave. The second one leaves at once.
    Stop,
    /// SIGHUP: read the settings again.
    Reload,
}

pub fn listen() -> std::io::Result<Receiver<Ask>> {
    let (sender, receiver) = unbounded();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
            let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = kinds.map(signal) else {
                tracing::error!("signals cannot be received; kill -9 is safe, too");
                return;
            };
            let mut stops = 0;
            loop {
                let ask = tokio::select! {
                    _ = terminate.recv() => Ask::Stop,
                    _ = interrupt.recv() => Ask::Stop,
                    _ = hangup.recv() => Ask::Reload,
                };
                stops += u32::from(ask == Ask::Stop);
                if stops > 1 {
                    std::process::exit(i32::from(exit::UNVERIFIED));
                }
                if sender.send(ask).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(receiver)
}
