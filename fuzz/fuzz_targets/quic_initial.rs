//! First flights of QUIC, raw and sealed.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::quic::quic_initial);
