mod live;
mod request;
mod store;

pub use live::LiveCertificate;
pub use request::{CertificateRequest, RequestError};
pub use store::{CertificateStore, StoreError, StoredCertificate};
