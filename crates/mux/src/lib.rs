//! The protocol that carries many connections over one byte stream: both ends, without I/O.
