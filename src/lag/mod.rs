//! How far consumer groups are behind, and whether that is trouble.
//!
//! * `figure`: a number, or why there is none
//! * `facts`: what one round of asking the cluster brought; `window`: what a verdict looks at
//! * `burrow`, `rules`: from a window to a [`Verdict`](verdict::Verdict), as pure functions; `ruleset`: which of the two
//! * `forecast`: when a group catches up, and when retention overtakes it
//! * `replay`: the same rules over recorded windows
//! * `snapshot`: what is known now, for whoever shows it
//!
//! Nothing here does I/O or reads a clock, except what asks the cluster (`collect`).

pub mod burrow;
pub mod facts;
pub mod figure;
pub mod forecast;
pub mod replay;
pub mod rules;
pub mod ruleset;
mod slope;
pub mod snapshot;
pub mod tracker;
pub mod verdict;
pub mod watcher;
pub mod window;
