//! What prost makes of `proto/adit/wire/v1`; private, so that another generator can take its place.
#![allow(
    missing_docs,
    unnameable_types,
    unreachable_pub,
    clippy::all,
    clippy::restriction,
    clippy::pedantic,
    reason = "generated; `tests/generated.rs` compares it with the .proto files"
)]

include!("adit.wire.v1.rs");
