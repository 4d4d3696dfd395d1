//! Upstreams, public addresses and connection strings.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::naming::endpoint);
