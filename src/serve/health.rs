//! `/livez` and `/readyz`, which mean it: the answer comes from what each part really did, not from the port being open.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::app::App;
use super::board::Board;
use crate::report::format::duration;

/// 200 while every part has done something lately; otherwise who is silent.
pub async fn livez(State(app): State<Arc<App>>) -> (StatusCode, String) {
    answer(silent(&app.board, app.now_ms()), "live")
}

/// 200 when every part has worked at least once, so that what is shown means something.
pub async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, String) {
    let pulses = app.board.pulses.load();
    let mut waiting: Vec<String> =
        pulses.iter().filter(|(_, p)| !p.ready).map(|(part, _)| format!("{part} has not worked yet")).collect();
    if pulses.is_empty() {
        waiting.push("nothing has started yet".to_owned());
    }
    waiting.extend(silent(&app.board, app.now_ms()));
    answer(waiting, "ready")
}

pub fn silent(board: &Board, now_ms: i64) -> Vec<String> {
    let pulses = board.pulses.load();
    let late = pulses.iter().filter_map(|(part, pulse)| {
        let silence = now_ms.saturating_sub(pulse.last_ms);
        let (silence, allowed) = (u64::try_from(silence).ok()?, u64::try_from(pulse.allowed_ms).unwrap_or(0));
        let says = || format!("{part} has been silent for {}, allowed are {}", duration(silence), duration(allowed));
        (silence > allowed).then(says)
    });
    late.collect()
}

fn answer(troubles: Vec<String>, good: &str) -> (StatusCode, String) {
    match troubles.is_empty() {
        true => (StatusCode::OK, format!("{good}\n")),
        false => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n"),
    }
}
