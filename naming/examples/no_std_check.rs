//! Proves that the crate needs no `std`: `cargo build -p adit-naming --no-default-features --example no_std_check`.
//!
//! A program has one panic handler. This library brings its own, which the compiler refuses if anything below it has
//! linked `std`, since `std` brings one as well. The features `keys`, `idn` and `conformance` may be on; with `serde` there is
//! nothing to see, because the tests' own dependencies turn its `std` on.
#![cfg_attr(not(any(feature = "std", feature = "serde")), no_std)]

use adit_naming::{Destination, Host, HostSource, Zones};

/// Uses enough of the crate that it can't be left out.
pub fn is_a_tunnel(zones: &Zones, host: &[u8]) -> bool {
    let Ok(host) = Host::parse(host, HostSource::Header) else { return false };
    matches!(zones.classify(&host), Destination::TunnelByName { .. })
}

#[cfg(not(any(feature = "std", feature = "serde")))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
