//! The op table, block builder, verifier and text form of Boxer's intermediate representation.
