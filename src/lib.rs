//! sordini audits an event backbone: it reads beside the real consumers and says, with evidence, what was lost,
//! duplicated, reordered or corrupted, and what it could not see.
//!
//! Data flows one way, and nothing imports upwards:
//!
//! ```text
//! wire      bytes of the record format: batches, records, compression, CRC; no I/O
//! source    where batches come from: raw Fetch, librdkafka, JSON lines
//! identify  what each record is: observations, in columns
//! audit     the checks: pure state machines; no I/O, no clock, no thread
//! ledger    the embedded store: sightings, states, positions, findings, one atomic commit
//! engine    the threads and queues that tie the above together
//! report    terminal, JSON lines, HTML, JUnit
//! drift     comparing two stores by content
//! lag       how far consumer groups are behind, and verdicts about it
//! alert     incidents, and who is told
//! serve     metrics, API and page of the running daemon
//! watch     the daemon that ties all of it together
//! generate  traffic with known faults, and the score against them
//! cli       one file per subcommand
//! ```

pub mod alert;
pub mod audit;
pub mod cli;
pub mod config;
pub mod drift;
pub mod engine;
pub mod generate;
pub mod identify;
pub mod lag;
pub mod ledger;
pub mod report;
pub mod serve;
pub mod source;
pub mod watch;
pub mod wire;
