//! Ledgers as a user looks into them and after them: `trace` and `ledger`, against ledgers that `audit` made of lines.

mod common;
mod flow;
mod keys;
mod live;
mod rest;
mod show;
