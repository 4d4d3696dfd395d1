//! Frames of a WebSocket, from either side.
#![cfg_attr(fuzzing, no_main)]

adit_fuzz::target!(adit_fuzz::websocket::websocket_frames);
