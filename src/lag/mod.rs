//! How far consumer groups are behind, and whether that is trouble.
//!
//! * `figure`: a number, or why there is none
//! * `facts`: what one round of asking the cluster brought; `window`: what a verdict looks at
//! * `burrow`, `rules`: from a window to a [`Verdict`], as pure functions
//! * `snapshot`: what is known now, for whoever shows it
//!
//! Nothing here does I/O or reads a clock, except what asks the cluster (`collect`).

pub mod burrow;
pub mod collect;
pub mod facts;
pub mod figure;
pub mod replay;
pub mod rules;
pub mod ruleset;
mod slope;
pub mod snapshot;
pub mod tracker;
pub mod verdict;
pub mod watcher;
pub mod window;
