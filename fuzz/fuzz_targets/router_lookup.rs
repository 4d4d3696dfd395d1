//! See [`adit_fuzz::router::router_lookup`].
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::router::router_lookup);
