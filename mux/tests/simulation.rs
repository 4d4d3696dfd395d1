//! Two cores over a pipe with random cuts, delays and stalls. Failing scripts are printed, shrunk, and kept.
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
