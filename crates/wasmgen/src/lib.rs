//! IR to Wasm function bodies.
