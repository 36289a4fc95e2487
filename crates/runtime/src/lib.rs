//! Runs boxes under wasmtime.
