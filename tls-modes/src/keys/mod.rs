mod generator;
mod pem;
mod signing_key;

pub use generator::{KeyGenerationError, KeyGenerator};
pub(crate) use pem::write_pem;
#[cfg(feature = "ca")]
pub(crate) use signing_key::ProviderKey;
pub use signing_key::{PrivateKey, PrivateKeyError};
