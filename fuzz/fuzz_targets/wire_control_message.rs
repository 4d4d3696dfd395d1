//! Control messages of both sides.
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::wire::wire_control_message);
