//! How far consumer groups are behind, and whether that is trouble.
//!
//! * `figure`: a number, or why there is none
//! * `collect`: asks the cluster; `facts`: what one round of asking brought
//! * `commits`: follows `__consumer_offsets`
//! * `tracker`: what is remembered from round to round; `window`: what a verdict looks at
//! * `burrow`, `rules`: from a window to a [`Verdict`](verdict::Verdict), as pure functions; `ruleset`: which of the two
//! * `forecast`: when a group catches up, and when retention overtakes it
//! * `snapshot`: what is known now, for whoever shows it
//! * `watcher`: rounds, one after the other
//! * `replay`: the same rules over recorded windows
//!
//! Only `collect` and `watcher` do I/O; nothing reads a clock that it was not given.

pub mod burrow;
pub mod collect;
pub mod commits;
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
