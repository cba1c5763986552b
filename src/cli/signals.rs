//! What the operating system asks: to stop, or to read the settings again.

use crossbeam_channel::{Receiver, unbounded};
use tokio::signal::unix::{SignalKind, signal};

use super::exit;
use crate::watch::Ask;

/// SIGTERM and Ctrl-C ask to stop, the second time they end the process at once. SIGHUP asks to reload where that means
/// something; elsewhere it ends the process as usual.
pub fn listen(can_reload: bool) -> std::io::Result<Receiver<Ask>> {
    let (sender, receiver) = unbounded();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let kinds = [SignalKind::terminate(), SignalKind::interrupt()];
            let [Ok(mut terminate), Ok(mut interrupt)] = kinds.map(signal) else {
                tracing::error!("signals cannot be received; kill -9 is safe, too");
                return;
            };
            let mut hangup = if can_reload { signal(SignalKind::hangup()).ok() } else { None };
            let mut stops = 0;
            loop {
                let ask = tokio::select! {
                    _ = terminate.recv() => Ask::Stop,
                    _ = interrupt.recv() => Ask::Stop,
                    Some(_) = async { hangup.as_mut()?.recv().await } => Ask::Reload,
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
