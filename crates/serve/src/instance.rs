//! One running box.

use crate::{Error, Report, Service};
use mux::control::Control;
use runtime::{Caller, Descriptor, Fork, Freezer, Input, Interrupt, Network};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// SIGTERM.
const TERMINATE: u16 = 15;
/// Between two looks whether a server listens that is starting.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A box on a thread of its own. Dropped, it ends.
pub struct Instance {
    caller: Caller,
    interrupt: Interrupt,
    control: RefCell<UnixStream>,
    /// It was told to end.
    ends: Cell<bool>,
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.interrupt.give();
    }
}

impl Instance {
    /// Starts one.
    ///
    /// # Errors
    /// There are no threads or descriptors for it.
    pub fn start(service: &Service, freezer: Option<Freezer>) -> Result<Rc<Instance>, Error> {
        let mut network = Network::new(service.grant.clone()).map_err(runtime::RunError::from)?;
        let caller = network.caller();
        let interrupt = Interrupt::new();
        let (descriptor, control) = Descriptor::new(Descriptor::CONTROL)?;
        control.set_nonblocking(true)?;
        if let Some(freezer) = &freezer {
            freezer.told_by(control.try_clone()?);
        }
        let mut options = service.options.another();
        options.descriptors.push(descriptor);
        options.network = Some(network);
        options.interrupt = Some(interrupt.clone());
        options.freezer = freezer;
        options.stdin = Input::Silent;
        let state = service.state.clone();
        let (tell, ended) = watch::channel(None);
        let run = move || {
            let how = match state.start(options).and_then(Fork::run) {
                Ok(outcome) => format!("the box ended with status {}", outcome.status),
                Err(error) => format!("the box ended: {error}"),
            };
            // Nobody may be interested any more.
            let _ = tell.send(Some(how));
        };
        std::thread::Builder::new().name("box".to_owned()).spawn(run)?;
        let (control, ends) = (RefCell::new(control), Cell::new(false));
        Ok(Rc::new(Instance { caller, interrupt, control, ends, ended }))
    }

    /// A connection to its server.
    ///
    /// # Errors
    /// See [`Caller::call`].
    pub async fn call(
        &self,
        port: u16,
        peer: SocketAddr,
    ) -> std::io::Result<tokio::net::UnixStream> {
        self.caller.call(port, peer).await
    }

    /// Waits until its server listens; whether it did so at once.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn listens(&self, port: u16, timeout: Duration) -> Result<bool, Error> {
        let end = Instant::now() + timeout;
        let mut at_once = true;
        loop {
            match self.call(port, self.caller.peer()).await {
                Ok(_) => return Ok(at_once),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => {
                    let how = self.end().await;
                    return Err(Error::Start(format!("{how} before it listened at port {port}")));
                }
            }
            at_once = false;
            let again = Instant::now() + LOOK_AGAIN;
            if again > end {
                let time = timeout.as_secs_f64();
                return Err(Error::Start(format!(
                    "nothing in the box listens at port {port} after {time} s"
                )));
            }
            sleep_until(again).await;
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for its end, and says how it ended.
    pub async fn end(&self) -> String {
        let gone = || "the box ended".to_owned();
        match self.ended.clone().wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.interrupt.give();
    }

    /// Ends it when all of its programs wait, or after `longest`.
    pub async fn end_at_rest(&self, longest: Duration) {
        self.interrupt.give_at_rest();
        self.end_within(longest).await;
    }

    /// Tells its first process to end, and ends it after `longest`.
    pub async fn terminate(&self, longest: Duration) {
        self.ends.set(true);
        // Far fewer bytes than the stream holds; a box that is gone hears nothing.
        let _ = self.control.borrow_mut().write_all(&Control::Signal(TERMINATE).encode());
        self.end_within(longest).await;
    }

    async fn end_within(&self, longest: Duration) {
        tokio::select! {
            _ = self.end() => {}
            () = sleep(longest) => {
                self.kill();
                self.end().await;
            }
        }
    }
}

/// Says how a box ended that should not have.
pub async fn watch(instance: Rc<Instance>, report: Report) {
    let how = instance.end().await;
    if !instance.ends.get() {
        report(&how);
    }
}
