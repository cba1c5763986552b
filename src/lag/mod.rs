//! How far consumer groups are behind, and whether that is trouble.
//!
//! * `figure`: a number, or why there is none
//! * `facts`: what one round of asking the cluster brought; `window`: what a verdict looks at
//! * `burrow`, `rules`: from a window to a [`Verdict`], as pure functions
//! * `commits`: every commit with its own time, where `__consumer_offsets` may be read
//! * `snapshot`: what is known now, for whoever shows it
//!
//! Nothing here does I/O or reads a clock, except what asks the cluster (`collect`, `commits::follow`).

pub mod commits;
pub mod facts;
pub mod figure;
pub mod snapshot;
pub mod verdict;
pub mod window;
