//! The ledger from outside: its bytes, its memory, and what is left of it when it is killed.

mod common;
mod document;
mod golden;
mod kill;
mod manifest;
mod memory;
mod soak;

/// As in the program: what memory is measured depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
