//! What must be conserved: sums over all rows that both stores must agree on, or that must be nothing in each of them.
//!
//! They are computed on both sides of the cut that rows are compared under, by other ways than the rows: in SQL there, over
//! the last version of every key here. Keys in flight are in neither. So they check the comparison, and tell what a
//! difference of rows amounts to.
//!
//! * `law`: what is written, and what it means for the columns at hand
//! * `total`: sums by group, exact
//! * `judge`, `say`: what is wrong with them

pub mod judge;
pub mod law;
pub mod say;
pub mod total;
