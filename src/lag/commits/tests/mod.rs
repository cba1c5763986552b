//! Bytes by hand and by an encoder of the tests' own; the book against a naive reader of the same log.

mod book;
mod decode;
mod encode;
mod intake;
