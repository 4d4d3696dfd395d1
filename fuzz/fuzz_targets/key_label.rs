//! Sealed keys and the labels they stand in.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::naming::key_label);
