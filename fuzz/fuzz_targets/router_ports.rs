//! See [`adit_fuzz::router::router_ports`].
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::router::router_ports);
