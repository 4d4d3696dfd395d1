//! The operating system's randomness, for the libraries that take it as an argument.

use adit_errors::RequestId;

/// Fresh random octets.
///
/// # Panics
/// If the operating system has none: nothing here can be done safely without.
pub(crate) fn octets<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).expect("the operating system gives randomness");
    octets
}

/// 64 fresh random bits.
pub(crate) fn number() -> u64 {
    u64::from_be_bytes(octets())
}

/// 128 fresh random bits.
pub(crate) fn wide() -> u128 {
    u128::from_be_bytes(octets())
}

/// A name for a refusal or a request that came without a usable one.
pub(crate) fn request_id() -> RequestId {
    RequestId::from_random(wide())
}
