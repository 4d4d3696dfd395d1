//! Names, their errors and suggestions.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::naming::name);
