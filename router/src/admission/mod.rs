//! On what terms a credential may register tunnels: how many, for how long, and for how much money.

mod account;
mod delegation;
mod money;
pub(crate) mod month;
mod pace;

pub use account::{Account, AdmissionError, BudgetError, Grant, Reservation, Role};
pub use delegation::{Credentials, DelegationError, KeyId, KeyKind};
pub use money::{Budget, Cents, CentsError};
pub use pace::Pace;
