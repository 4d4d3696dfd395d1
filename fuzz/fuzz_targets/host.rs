//! Hosts of every source, and where they lead.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::naming::host);
