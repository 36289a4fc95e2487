//! Boxes as HTTP services: requests go to an unmodified server in a box, in an instance for each of them or in some that stay.
//!
//! One thread has all of HTTP; each instance has a thread of its own. And a network for boxes that run in browsers. This crate knows nothing of building.

mod front;
mod held;
mod instance;
mod pool;
mod refusal;
mod relay;
mod wisp;

pub use front::serve;
pub use wisp::{Outward, serve_wisp};

use runtime::{Frozen, Grant, RunOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Told of what happens: one line.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// Which instances answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// A new one for each request. It ends when all of its programs wait after the answer.
    Request,
    /// They stay.
    Server,
}

/// How requests are served.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the server listens in the box.
    pub port: u16,
    /// Which instances answer.
    pub lifetime: Lifetime,
    /// Most instances at once that answer requests; those that stay are so many.
    pub instances: usize,
    /// Requests at once in an instance that stays.
    pub concurrency: usize,
    /// Requests that wait for an instance; more are refused (503).
    pub queue: usize,
    /// How long a request may wait for an instance, and then the head of its answer may take.
    pub timeout: Duration,
    /// How long a server may take until it listens.
    pub start_timeout: Duration,
    /// How long requests that are under way may take at the end, and then the boxes.
    pub grace: Duration,
}

/// What is served.
pub struct Service {
    /// Where its instances start.
    pub state: Frozen,
    /// What each is given beside its network ([`RunOptions::another`]).
    pub options: RunOptions,
    /// Its network.
    pub grant: Grant,
}

impl Service {
    /// The same from where its programs have come to `state`.
    fn going_on(&self, state: Frozen) -> Service {
        Service { state, options: self.options.going_on(), grant: self.grant.clone() }
    }
}

/// Why nothing is served (any more).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sockets of this system fail.
    #[error("cannot serve: {0}")]
    Io(#[from] std::io::Error),
    /// An instance cannot be started.
    #[error(transparent)]
    Run(#[from] runtime::RunError),
    /// The server did not come to listen.
    #[error("{0}")]
    Start(String),
    /// The server listens, but its state cannot be kept for others to start from.
    #[error("no instances can be started from it: {0}")]
    Freeze(#[from] runtime::FreezeError),
}

/// Ends a service. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<u8>);

impl Default for Stop {
    fn default() -> Self {
        Stop(watch::Sender::new(0))
    }
}

impl Stop {
    /// The first call lets requests that are under way come to their end; the second does not.
    pub fn stop(&self) {
        self.0.send_modify(|times| *times = times.saturating_add(1));
    }

    /// Waits until there were so many calls.
    pub(crate) async fn called(&self, times: u8) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(|called| *called >= times).await;
    }
}
