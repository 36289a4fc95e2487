//! Fixtures, fake host and local registry for tests.
