//! See [`adit_fuzz::policy::policy_decision`].
#![cfg_attr(fuzzing, no_main)]
adit_fuzz::target!(adit_fuzz::policy::policy_decision);
