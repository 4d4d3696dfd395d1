//! Datagrams and records of UDP flows.
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::wire::wire_datagram);
