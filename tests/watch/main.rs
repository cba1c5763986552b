//! The daemon as an operator runs it: the real binary beside a real Kafka, Prometheus, Alertmanager and browser.

mod common;
mod drift;
mod lifecycle;
mod page;
mod paging;
mod soak;
