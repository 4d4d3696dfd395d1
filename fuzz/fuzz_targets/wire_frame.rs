//! Frames of the native carrier.
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::wire::wire_frame);
