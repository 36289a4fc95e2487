//! The box program.
fn main() {}
