//! The instances: which of them answers a request, and how many there are.

use crate::held::Serves;
use crate::instance::Instance;
use crate::refusal::Refusal;
use crate::{Config, Error, Lifetime, Report, Service};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use runtime::{Freezer, Next};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

/// How long an instance may go on after its answer until all of its programs wait.
const LINGER: Duration = Duration::from_secs(2);
/// How long a server that has come to listen may do what else it does before its state is kept.
const SETTLE: Duration = Duration::from_millis(200);

/// All instances of one service.
pub struct Pool {
    service: Rc<Service>,
    pub config: Config,
    report: Report,
    permits: Arc<Semaphore>,
    waiting: Cell<usize>,
    /// What instances for one request start from: known once the server has been seen to listen.
    ready: RefCell<Option<Rc<Service>>>,
    /// Instances that wait for a request.
    standby: RefCell<VecDeque<Rc<Instance>>>,
    /// How many of them there shall be.
    ahead: usize,
    /// Instances that stay.
    kept: Vec<Kept>,
}

/// A place for an instance that stays.
#[derive(Default)]
struct Kept {
    instance: RefCell<Option<Rc<Instance>>>,
    /// Held while one is started.
    starting: Mutex<()>,
    /// Connections that stand.
    idle: RefCell<Vec<SendRequest<Incoming>>>,
    requests: Cell<usize>,
}

impl Pool {
    /// A pool without instances.
    pub fn new(service: Service, config: Config, report: Report) -> Rc<Pool> {
        let stays = config.lifetime == Lifetime::Server;
        let each = if stays { config.concurrency } else { 1 };
        let most = config.instances.saturating_mul(each).clamp(1, Semaphore::MAX_PERMITS);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kept = if stays { config.instances } else { 0 };
        Rc::new(Pool {
            permits: Arc::new(Semaphore::new(most)),
            waiting: Cell::new(0),
            ready: RefCell::default(),
            standby: RefCell::default(),
            ahead: cores.min(config.instances),
            kept: (0..kept).map(|_| Kept::default()).collect(),
            service: Rc::new(service),
            config,
            report,
        })
    }

    /// Starts what answers the first requests.
    ///
    /// # Errors
    /// The server does not come to listen.
    pub async fn prepare(self: &Rc<Self>) -> Result<(), Error> {
        let Config { port, start_timeout, .. } = self.config;
        if self.config.lifetime == Lifetime::Server {
            for kept in &self.kept {
                self.keep(kept).await?;
            }
            return Ok(());
        }
        let freezer = Freezer::new();
        let first = Instance::start(&self.service, Some(freezer.clone()))?;
        if first.listens(port, start_timeout).await? {
            // It is where its programs listen that it starts.
            self.ready.replace(Some(self.service.clone()));
            self.standby.borrow_mut().push_back(first);
        } else {
            sleep(SETTLE).await;
            let freeze = move || freezer.freeze(|state| (Next::Ends(0), state));
            let frozen =
                tokio::task::spawn_blocking(freeze).await.map_err(std::io::Error::other)?;
            self.ready.replace(Some(Rc::new(self.service.going_on(frozen?))));
        }
        self.top_up();
        Ok(())
    }

    /// Starts instances ahead of requests.
    fn top_up(self: &Rc<Self>) {
        let Some(ready) = self.ready.borrow().clone() else { return };
        while self.standby.borrow().len() < self.ahead {
            match Instance::start(&ready, None) {
                Ok(instance) => self.standby.borrow_mut().push_back(instance),
                Err(error) => return (self.report)(&error.to_string()),
            }
        }
    }

    /// An instance for a request, as soon as there may be one.
    ///
    /// # Errors
    /// There are too many requests, or no instance can be started.
    pub async fn take(self: &Rc<Self>) -> Result<Lease, Refusal> {
        let permit = self.permit().await?;
        if self.config.lifetime == Lifetime::Server {
            return self.join(permit).await;
        }
        // One that has ended while it waited is of no use.
        self.standby.borrow_mut().retain(|instance| !instance.is_over());
        let waiting = self.standby.borrow_mut().pop_front();
        let instance = match (waiting, self.ready.borrow().clone()) {
            (Some(instance), _) => instance,
            (None, Some(ready)) => Instance::start(&ready, None)
                .map_err(|error| Refusal::bad_gateway(error.to_string()))?,
            (None, None) => return Err(Refusal::bad_gateway("no instance is ready")),
        };
        // After this request was sent on its way.
        let pool = self.clone();
        spawn_local(async move { pool.top_up() });
        Ok(Lease { pool: self.clone(), instance, kept: None, permit: Some(permit), done: false })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        if self.waiting.get() >= self.config.queue {
            return Err(Refusal::busy("too many requests wait for an instance"));
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waits = Waits(&self.waiting);
        match timeout(self.config.timeout, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Refusal::busy("no instance was free in time")),
        }
    }

    /// A request for the instance with the fewest.
    async fn join(self: &Rc<Self>, permit: OwnedSemaphorePermit) -> Result<Lease, Refusal> {
        let fewest = self.kept.iter().enumerate().min_by_key(|(_, kept)| kept.requests.get());
        let Some((index, kept)) = fewest else {
            return Err(Refusal::bad_gateway("there is no instance"));
        };
        kept.requests.set(kept.requests.get() + 1);
        let started = self.keep(kept).await;
        let instance = started.map_err(|error| {
            kept.requests.set(kept.requests.get().saturating_sub(1));
            Refusal::bad_gateway(error.to_string())
        })?;
        let kept = Some(index);
        Ok(Lease { pool: self.clone(), instance, kept, permit: Some(permit), done: false })
    }

    /// The instance that stays at this place; started if there is none, or it has ended.
    async fn keep(&self, kept: &Kept) -> Result<Rc<Instance>, Error> {
        let _starting = kept.starting.lock().await;
        let there = kept.instance.borrow().clone();
        if let Some(instance) = there.filter(|instance| !instance.is_over()) {
            return Ok(instance);
        }
        kept.idle.borrow_mut().clear();
        let instance = Instance::start(&self.service, None)?;
        instance.listens(self.config.port, self.config.start_timeout).await?;
        spawn_local(crate::instance::watch(instance.clone(), self.report.clone()));
        kept.instance.replace(Some(instance.clone()));
        Ok(instance)
    }

    /// Ends all instances.
    pub async fn end(&self) {
        self.ready.replace(None);
        self.standby.borrow_mut().clear();
        for kept in &self.kept {
            let instance = kept.instance.borrow_mut().take();
            if let Some(instance) = instance {
                instance.terminate(self.config.grace).await;
            }
        }
    }
}

/// A request in the queue.
struct Waits<'a>(&'a Cell<usize>);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// An instance that answers a request, until this is dropped.
pub struct Lease {
    pool: Rc<Pool>,
    instance: Rc<Instance>,
    /// Its place, if it stays.
    kept: Option<usize>,
    permit: Option<OwnedSemaphorePermit>,
    done: bool,
}

impl Serves for Lease {
    fn done(&mut self) {
        self.done = true;
    }
}

impl Lease {
    /// How the instance ended, if it has or is just about to.
    pub async fn over(&self) -> Option<String> {
        const JUST: Duration = Duration::from_millis(100);
        timeout(JUST, self.instance.end()).await.ok()
    }

    fn kept(&self) -> Option<&Kept> {
        self.kept.and_then(|index| self.pool.kept.get(index))
    }

    /// A connection that stands and is not in use, if there is one.
    pub fn idle(&self) -> Option<SendRequest<Incoming>> {
        let mut idle = self.kept()?.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        let free = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(free))
    }

    /// Lets others have the connection when it is not in use any more.
    pub fn reuse(&self, sender: SendRequest<Incoming>) {
        if let Some(kept) = self.kept() {
            kept.idle.borrow_mut().push(sender);
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(&self, peer: SocketAddr) -> Result<SendRequest<Incoming>, Refusal> {
        let port = self.pool.config.port;
        let stream = match self.instance.call(port, peer).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return Err(Refusal::bad_gateway(format!(
                    "nothing in the box listens at port {port}"
                )));
            }
            Err(error) => {
                let how = self.over().await.unwrap_or_else(|| error.to_string());
                return Err(Refusal::bad_gateway(how));
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Refusal::bad_gateway(error.to_string()))?;
        // Its errors come to whoever sends.
        spawn_local(async move { drop(connection.with_upgrades().await) });
        Ok(sender)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(kept) = self.kept() {
            kept.requests.set(kept.requests.get().saturating_sub(1));
            return;
        }
        let (instance, permit, done) = (self.instance.clone(), self.permit.take(), self.done);
        spawn_local(async move {
            match done {
                true => instance.end_at_rest(LINGER).await,
                // Who asked has gone, or was told that there is no answer.
                false => instance.end_at_rest(Duration::ZERO).await,
            }
            drop(permit);
        });
    }
}
