mod live;
mod renewal;
mod request;
mod store;

pub use live::LiveCertificate;
pub use renewal::renew_at;
pub use request::{CertificateRequest, RequestError};
pub use store::{CertificateStore, StoreError, StoredCertificate};
