//! Runs IR.
