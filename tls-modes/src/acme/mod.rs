mod account;
mod board;
mod error;
mod order;
mod pending;
mod signer;
mod transport;

pub use account::{AcmeAccount, ExternalAccount, NewAcmeAccount};
pub use board::{BoardError, ChallengeBoard, Posting};
pub use error::{AcmeError, AcmeNext, AcmeProblem};
pub use signer::{AcmeSigner, AcmeSignerBuilder, ChallengeKind};
pub use transport::{AcmeExchange, AcmeTransport};
