//! See [`adit_fuzz::octets::router_detect`].
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::octets::router_detect);
