//! Fixtures, fake host and local registry for tests.
//!
//! [`fuzz`]: fuzzers that are tests.
//!
//! Feature `cpu` (on by default): the CPU against the one we run on.
//!
//! Feature `host` (on by default): [`host::TestHost`], a host for the kernel and the machine.
//!
//! Feature `registry` (on by default):
//!
//! * [`registry::Registry`]: Debian's `docker-registry` on a loopback port, plain or with TLS and htpasswd.
//! * [`fake_registry::FakeRegistry`]: a registry in memory, with Bearer tokens, faults and manners on demand.
//! * [`http::Server`]: the few lines of HTTP under it.
//! * [`image`]: small images made on the spot.
//! * [`actions_cache::ActionsCacheServer`]: the cache service of GitHub Actions in memory.
//! * [`token_gate::TokenGate`]: a token server in front of a registry.
//! * [`proxy::Proxy`]: breaks connections at a given byte.
//!
//! Everything here may panic: a test that cannot be set up has failed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "registry")]
pub mod actions_cache;
#[cfg(feature = "cpu")]
pub mod cpu;
#[cfg(feature = "registry")]
pub mod fake_registry;
pub mod fuzz;
#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "registry")]
pub mod http;
#[cfg(feature = "registry")]
pub mod image;
#[cfg(feature = "registry")]
pub mod proxy;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "registry")]
pub mod token_gate;
