//! The multiplexer's core: a hostile peer, and two honest ends over a cut pipe.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::mux::mux_session);
