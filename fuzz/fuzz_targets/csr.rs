//! Certificate signing requests.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::tls_modes::csr);
