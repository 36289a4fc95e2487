//! The boxer command.
fn main() {}
