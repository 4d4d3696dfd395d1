mod generator;
mod pem;
mod signing_key;

pub use generator::{KeyGenerationError, KeyGenerator};
#[cfg(feature = "keys")]
pub(crate) use pem::write_pem;
pub use signing_key::{PrivateKey, PrivateKeyError};
pub(crate) use signing_key::{ProviderKey, key_identifier};
