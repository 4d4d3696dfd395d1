mod csr;
mod csr_error;
mod der;
mod key_index;
pub(crate) mod names;
mod public_key;
mod quota;

pub use csr::{ApprovedRequest, CsrCheck};
pub use csr_error::CsrError;
pub use key_index::{KeyFingerprint, KeyIndex, KeyRefused};
pub use names::{AuthorisedNames, AuthorisedNamesError};
pub use quota::{QuotaExceeded, SigningQuota};

mod signer;
pub use signer::{Issuance, IssuedCertificate, SignError, SignFuture, Signer};

#[cfg(feature = "ca")]
mod local_ca;
#[cfg(feature = "ca")]
pub use local_ca::{CaLoadError, LocalCa, NewCa};

#[cfg(feature = "ca")]
mod revocation;
#[cfg(feature = "ca")]
pub use revocation::{CertificateSerial, RevocationError, RevocationList, RevocationReason};
