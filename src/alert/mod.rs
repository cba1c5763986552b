//! Incidents, and who is told of them.
//!
//! * `incident`: one thing that is wrong, from its opening to its resolution

pub mod incident;
