//! The host's end of a box's network: connections, datagrams, published ports and names, as far as the caller grants them.
//!
//! A thread with a runtime of its own serves the byte stream that the box has as a descriptor (`mux::Server`).

mod calls;
mod door;
mod errno;
mod event;
mod names;
mod policy;
mod publish;
mod serve;
mod tcp;
#[cfg(test)]
mod tests;
mod traffic;
mod udp;

pub use calls::Caller;
pub(crate) use door::start as serve_sockets;
pub use door::{Door, Served};
pub use event::NetworkEvent;
pub use mux::Transport;
pub use policy::Policy;
pub use publish::{Port, Protocol, PublishError, Published};
pub use traffic::Traffic;

use crate::descriptor::Descriptor;
use names::Resolver;
use publish::Listener;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::mpsc::UnboundedReceiver;
use traffic::Spent;

/// Told of what happens on the way out.
pub type NetworkReport = Arc<dyn Fn(&NetworkEvent) + Send + Sync>;

/// What a box is granted.
#[derive(Clone, Default)]
pub struct Grant {
    /// What it may reach.
    pub policy: Policy,
    /// Ports of this system that lead into the box.
    pub ports: Vec<Port>,
    /// Names with addresses of the caller's, which count as looked up.
    pub hosts: Vec<(String, IpAddr)>,
    /// Name servers to ask instead of the system's resolver.
    pub servers: Vec<IpAddr>,
    /// Told of what happens on the way out.
    pub report: Option<NetworkReport>,
    /// Where nothing may be reached, what programs try is refused here, with `ENETUNREACH`, and told; otherwise the box refuses it itself.
    pub tell_all: bool,
    /// Counts what is exchanged with the outside, and says how much that may be.
    pub traffic: Option<Arc<Traffic>>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Grant").field("policy", &self.policy).field("ports", &self.ports).finish()
    }
}

/// A network for one box: its ports are open.
#[derive(Debug)]
pub struct Network {
    grant: Grant,
    listeners: Vec<Listener>,
    called: Option<UnboundedReceiver<calls::Call>>,
}

impl Network {
    /// Opens the ports.
    ///
    /// # Errors
    /// One of them cannot be opened.
    pub fn new(grant: Grant) -> Result<Self, PublishError> {
        let listeners = grant.ports.iter().map(Listener::open).collect::<Result<_, _>>()?;
        Ok(Network { grant, listeners, called: None })
    }

    /// What connects to the box's ports from this process, with a way of its own past the ports of the host.
    pub fn caller(&mut self) -> Caller {
        let (caller, called) = calls::pair();
        self.called = Some(called);
        caller
    }

    /// Which ports lead where; those that the caller left open have their number now.
    pub fn published(&self) -> Vec<Published> {
        self.listeners.iter().map(Listener::published).collect()
    }

    /// Serves, on this thread, whoever holds the other end of `wire` and speaks as boxes do (`docs/network.md`), until that end is closed.
    pub fn serve(self, wire: UnixStream) {
        serve::run(self.grant, Vec::new(), self.listeners, self.called, wire);
    }

    /// Begins to serve a box by its descriptor.
    pub(crate) fn start(self) -> std::io::Result<(Descriptor, Serving)> {
        let (descriptor, wire) = Descriptor::new("BOXER_NET")?;
        // The thread ends when the box's end of the stream is closed.
        let stop = wire.try_clone()?;
        let serve = move || self.serve(wire);
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn(serve)?;
        Ok((descriptor, Serving { stop, thread: Some(thread) }))
    }
}

/// A network that is served; dropping it lets what the box has sent go out, and ends it.
pub(crate) struct Serving {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The box is gone: its end of the stream may still be open in this process.
        let _ = self.stop.shutdown(std::net::Shutdown::Read);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What all parts of a network share.
pub(crate) struct World {
    policy: Policy,
    resolver: Resolver,
    hosts: Vec<(String, IpAddr)>,
    report: Option<NetworkReport>,
    traffic: Option<Arc<Traffic>>,
    /// Where this is no network but the way to sockets: port n leads to the n-th.
    doors: Vec<Door>,
}

impl World {
    fn new(grant: &Grant, doors: Vec<Door>) -> Self {
        World {
            policy: grant.policy.clone(),
            resolver: Resolver::new(&grant.servers),
            hosts: grant.hosts.clone(),
            report: grant.report.clone(),
            traffic: grant.traffic.clone(),
            doors,
        }
    }

    fn report(&self, event: impl FnOnce() -> NetworkEvent) {
        if let Some(report) = &self.report {
            report(&event());
        }
    }

    /// Whether so many bytes may be exchanged with the outside; they count.
    fn spend(&self, bytes: usize) -> bool {
        let Some(traffic) = &self.traffic else { return true };
        match traffic.spend(bytes) {
            Spent::Yes => true,
            Spent::Not { first } => {
                if first {
                    let bytes = traffic.limit().unwrap_or_default();
                    self.report(|| NetworkEvent::UsedUp { bytes });
                }
                false
            }
        }
    }
}
