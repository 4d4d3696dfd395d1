//! Multiplexers beside one another, in one run, as ratios to raw TCP doing the same work.
//!
//! `cargo bench -p adit-benches --bench mux_peers -- --help` lists the options; `benches/README.md` says what is
//! measured and how to read the tables.

mod peers;

fn main() -> std::process::ExitCode {
    peers::main("mux_peers")
}
