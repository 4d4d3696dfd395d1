//! First flights of TLS over TCP.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::tls_modes::client_hello);
