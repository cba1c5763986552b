//! What sordini shows while it runs: metrics, an API and a page, all from memory.
//!
//! * `board`: what is known now, put there by those who know it
//! * `metrics`: `/metrics`

pub mod board;
pub mod metrics;

#[cfg(test)]
mod sample;
