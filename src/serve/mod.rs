//! What sordini shows while it runs: metrics, an API and a page, all from memory.
//!
//! * `board`: what is known now, put there by those who know it; `look`: finding things on it
//! * `settings`: from the configuration to secrets and TLS; what is not safe is refused there
//! * `server`: starts and ends; `router`: every route in one list; `app`: what handlers share
//! * `guard`, `auth`: who may look and who may change something
//! * `metrics`, `scrape`: `/metrics`; `api`: JSON, also in Burrow's shape; `page`: HTML; `events`: says that something is
//!   new; `health`: whether every part is alive
//!
//! Nothing here asks the cluster or a ledger; a request costs memory and a little time, whoever sends it.

mod api;
mod app;
mod auth;
pub(crate) use auth::base64;
pub mod board;
mod events;
mod guard;
mod health;
mod look;
pub mod metrics;
mod page;
mod router;
#[cfg(test)]
mod sample;
mod scrape;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod tls;

pub use self::app::Info;
pub use self::server::Server;
pub use self::settings::{ServeError, Settings};
