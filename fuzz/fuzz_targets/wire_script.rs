//! Frames in any order.
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::wire::wire_script);
