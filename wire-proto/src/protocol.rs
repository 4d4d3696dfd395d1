//! What a tunnel or a stream carries.

use crate::open::open_numbers;

open_numbers! {
    /// What a tunnel or a stream carries.
    Protocol {
        /// Not said; refused where it matters.
        UNSPECIFIED = 0;
        /// HTTP/1.1 or HTTP/2 in clear text, as the edge took it off TLS; WebSocket too.
        HTTP = 1;
        /// The octets of one TCP connection.
        TCP = 2;
        /// The flow of one UDP peer.
        UDP = 3;
        /// gRPC over HTTP/2.
        GRPC = 4;
        /// The octets of one SSH connection.
        SSH = 5;
        /// TLS that only the agent ends: the octets from the visitor's ClientHello on.
        HTTPS = 6;
        /// Whatever the upstream is found to speak; only in a registration.
        AUTO = 7;
        /// A private tunnel, opened by another agent; only in the head of a stream that an agent opens.
        REACH = 8;
        /// The control stream; only in the head of the agent's first stream.
        CONTROL = 9;
    }
}
