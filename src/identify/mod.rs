//! What each record is: its identity, its session and its number, as columns the checks can work on.
//!
//! A rule is what the user typed ([`Spec`]), resolved once into an [`Identifier`]; per record nothing is parsed twice,
//! allocated or looked up by a string's hash. A record that a rule does not fit is counted and sampled, never dropped
//! in silence.

pub mod extract;
pub mod facts;
pub mod hash;
pub mod json;
pub mod observations;
pub mod spec;
pub mod steps;

#[cfg(test)]
mod tests;

pub use extract::{Encoding, Identifier, Rules};
pub use hash::IdentityHasher;
pub use observations::{Arrival, Observations};
pub use spec::Spec;
pub use steps::StageRules;
