//! Headers of the PROXY protocol, in pieces.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::proxy_protocol::proxy_protocol);
