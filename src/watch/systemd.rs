//! What systemd is told (sd_notify). Without systemd nobody listens, which is no trouble.

use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("watching")]);
}

pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Only told while every part is alive, so that the watchdog restarts a daemon that hangs.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}
