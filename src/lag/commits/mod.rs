//! Every commit with its own time, from `__consumer_offsets`.
//!
//! * `decode`: what a record of that topic says; bytes only
//! * `book`, with `pending`, `members` and `news`: from records and markers in the order of the log to what is new about
//!   each group; state only
//! * `intake`: from what readers hand over to the book, and how the reading stands; `follow`: the threads that read the
//!   topic for as long as they are let
//!
//! Polling the coordinators is the fallback and the cross-check: what the cleaner took, what came before the tail, and
//! what a full book had to drop is only known there.

pub mod book;
pub mod decode;
pub mod follow;
mod intake;
mod members;
mod news;
mod pending;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

pub use book::{Book, Counts, Limits, Place};
pub use follow::{Follower, TOPIC};
pub use intake::Following;
pub use news::{Drained, Generation, GroupNews, MOST_OF_ONE, Removal, SpotNews};
