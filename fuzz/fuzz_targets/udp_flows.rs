//! See [`adit_fuzz::udp::udp_flows`].
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::udp::udp_flows);
