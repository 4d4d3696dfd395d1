//! Two cores over a pipe with random cuts, delays and stalls. Failing scripts are printed, shrunk, and kept.
//!
//! Other scripts, and more of them: `ADIT_MUX_SEED=7 ADIT_MUX_RUNS=100000 cargo test -p adit-mux --test simulation`. A script that
//! fails names its seed; with `ADIT_MUX_RUNS=1` that one is run again.
#![allow(
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a test knows its numbers and events, and owns its clock"
)]

#[path = "common/world.rs"]
mod world;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn two_cores_agree_with_the_model_whatever_happens_between_them(script in prop::collection::vec(any::<u8>(), 0..800)) {
        world::run(&script);
    }
}

#[test]
fn two_cores_agree_with_the_model_from_every_seed() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, runs) = (number("ADIT_MUX_SEED").unwrap_or(1), number("ADIT_MUX_RUNS").unwrap_or(500));
    println!("{runs} scripts from seed {first} on");
    for seed in first..first.saturating_add(runs) {
        let _named = Named(seed);
        world::run(&script(seed));
    }
}

/// Names the seed of a script that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with ADIT_MUX_SEED={} ADIT_MUX_RUNS=1", self.0);
        }
    }
}

/// Up to 4,000 octets that follow from a seed (splitmix64).
fn script(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let length = next() % 4_000;
    (0..length).map(|_| next().to_le_bytes()[0]).collect()
}
