//! From refusals of this crate to those of `adit-errors`, which every layer of a gateway understands.

use alloc::{format, string::ToString};

use adit_errors::{Code, Refusal};

use crate::{
    DisplayTextError, DomainError, HostError, NameError, NameRefusal, TargetError,
    ownership::{ClaimRefusal, ProofRefusal, RegistryError, RenameRefusal, RestoreRefusal},
};

/// `VALIDATION_FAILED` with the rule and a suggestion in the message, or `SUBDOMAIN_RESERVED`.
impl From<&NameRefusal> for Refusal {
    fn from(refusal: &NameRefusal) -> Self {
        let code = match refusal {
            NameRefusal::Invalid { .. } | NameRefusal::PortPrefix {} => Code::VALIDATION_FAILED,
            NameRefusal::Reserved {} | NameRefusal::LooksReserved { .. } | NameRefusal::Filtered {} => {
                Code::SUBDOMAIN_RESERVED
            }
        };
        let message = match refusal.suggestion() {
            Some(name) => format!("{refusal}; \"{name}\" would be valid"),
            None => refusal.to_string(),
        };
        Self::new(code, message)
    }
}

/// `SUBDOMAIN_TAKEN`. When the name comes free is for its owner to know, so the message doesn't say.
impl From<&ClaimRefusal> for Refusal {
    fn from(refusal: &ClaimRefusal) -> Self {
        Self::new(Code::SUBDOMAIN_TAKEN, refusal.to_string())
    }
}

/// `NOT_FOUND`: a name that isn't yours and one that doesn't exist are the same to you.
impl From<&ProofRefusal> for Refusal {
    fn from(refusal: &ProofRefusal) -> Self {
        Self::new(Code::NOT_FOUND, refusal.to_string())
    }
}

/// `NOT_FOUND`, as for [`ProofRefusal`].
impl From<&RestoreRefusal> for Refusal {
    fn from(refusal: &RestoreRefusal) -> Self {
        Self::new(Code::NOT_FOUND, refusal.to_string())
    }
}

/// That of the part that refused; `VALIDATION_FAILED` where names are immutable.
impl From<&RenameRefusal> for Refusal {
    fn from(refusal: &RenameRefusal) -> Self {
        match refusal {
            RenameRefusal::NotAllowed {} => Self::new(Code::VALIDATION_FAILED, refusal.to_string()),
            RenameRefusal::Claim { source } => source.into(),
            RenameRefusal::Proof { source } => source.into(),
        }
    }
}

/// What a registry refuses: as its reason, unless the store failed.
macro_rules! of_registry {
    ($($refusal:ty),+) => {
        $(
            /// The refusal itself; `internal` if the store failed, and its cause stays inside.
            impl<E> From<&RegistryError<$refusal, E>> for Refusal {
                fn from(error: &RegistryError<$refusal, E>) -> Self {
                    match error {
                        RegistryError::Refused { refusal } => Self::from(refusal),
                        RegistryError::Store { .. } | RegistryError::Contended {} => Self::internal(),
                    }
                }
            }
        )+
    };
}

of_registry!(ClaimRefusal, ProofRefusal, RestoreRefusal, RenameRefusal);

/// Errors of form: `VALIDATION_FAILED`, with what is wrong and where as the message.
macro_rules! validation_failed {
    ($($error:ty),+) => {
        $(
            /// `VALIDATION_FAILED`, with what is wrong and where as the message.
            impl From<&$error> for Refusal {
                fn from(error: &$error) -> Self {
                    Self::new(Code::VALIDATION_FAILED, error.to_string())
                }
            }
        )+
    };
}

validation_failed!(NameError, DisplayTextError, DomainError, HostError, TargetError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DisplayName, Host, HostSource, NameRules, Timestamp, TunnelNameRef,
        ownership::{MemoryStore, OwnerId, OwnershipRules, Registry},
    };

    fn refused(text: &str) -> Refusal {
        Refusal::from(&NameRules::default().admit(text).unwrap_err())
    }

    #[test]
    fn n12_reserved_and_taken_are_different_refusals() {
        let mut registry = Registry::new(MemoryStore::with_max_names(1), OwnershipRules::default());
        let name = TunnelNameRef::parse("my-app").unwrap();
        let now = Timestamp::from_unix_millis(0);
        let _claim = registry.claim(name, OwnerId::from_u128(1), now).unwrap();
        let taken = Refusal::from(&registry.claim(name, OwnerId::from_u128(2), now).unwrap_err());
        assert_eq!((taken.code(), taken.status()), (&Code::SUBDOMAIN_TAKEN, 409));
        let reserved = refused("admin");
        assert_eq!((reserved.code(), reserved.status()), (&Code::SUBDOMAIN_RESERVED, 409));
        let other = TunnelNameRef::parse("my-other-app").unwrap();
        let failed = Refusal::from(&registry.claim(other, OwnerId::from_u128(2), now).unwrap_err());
        assert_eq!(failed.code(), &Code::INTERNAL);
        let not_yours = Refusal::from(&registry.prove(other, OwnerId::from_u128(2), now).unwrap_err());
        assert_eq!(not_yours.code(), &Code::NOT_FOUND);
    }

    #[test]
    fn n05_forms_are_refused_with_the_rule_and_a_suggestion() {
        let refusal = refused("My--App_");
        assert_eq!((refusal.code(), refusal.status()), (&Code::VALIDATION_FAILED, 400));
        assert!(refusal.message().contains("capital letter at byte 0"), "{}", refusal.message());
        assert!(refusal.message().contains("\"my-app\" would be valid"), "{}", refusal.message());
        assert!(refused("ab\ncd").message().contains(r"'\n'"));
    }

    #[test]
    fn codes_agree_with_those_the_crate_has_without_the_feature() {
        for text in ["My App", "3000-x", "admin", "adm1n"] {
            let refusal = NameRules::default().admit(text).unwrap_err();
            assert_eq!(Refusal::from(&refusal).code().as_str(), refusal.code());
        }
        let host = Host::parse(b"a..b", HostSource::Header).unwrap_err();
        assert_eq!(Refusal::from(&host).code(), &Code::VALIDATION_FAILED);
        let display = DisplayName::parse("").unwrap_err();
        assert_eq!(Refusal::from(&display).code(), &Code::VALIDATION_FAILED);
    }
}
