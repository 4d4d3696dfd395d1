//! Values of the `Idempotency-Key` field.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::errors::idempotency_key);
