//! Each carrier beside the bare library doing the same work, in one run: h2, quinn, and the native carrier.
//!
//! `cargo bench -p adit-benches --bench carriers -- --help` lists the options; `benches/README.md` says how to read the
//! table.

mod peers;

fn main() -> std::process::ExitCode {
    peers::main("carriers")
}
