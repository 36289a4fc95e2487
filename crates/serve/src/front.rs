//! Where clients connect.

use crate::pool::Pool;
use crate::relay;
use crate::{Config, Error, Report, Service, Stop};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// Most bytes of a head.
const MAX_HEAD: usize = 64 << 10;
/// Between two tries when there are too many open files.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Serves until `stop` says so. `ready` is called when the first request can be answered.
///
/// # Errors
/// The server in the box does not come to listen, or this system's sockets fail.
pub fn serve(
    listener: std::net::TcpListener,
    service: Service,
    config: Config,
    stop: &Stop,
    report: Report,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, async move {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let grace = config.grace;
        let pool = Pool::new(service, config, report.clone());
        tokio::select! {
            prepared = pool.prepare() => prepared?,
            () = stop.called(1) => return Ok(()),
        }
        ready();
        let open = Rc::new(Open::default());
        tokio::select! {
            () = accept(&listener, &pool, stop, &report, &open) => {}
            () = stop.called(1) => {}
        }
        drop(listener);
        tokio::select! {
            _ = timeout(grace, open.none()) => {}
            () = stop.called(2) => return Ok(()),
        }
        tokio::select! {
            () = pool.end() => {}
            () = stop.called(2) => {}
        }
        Ok(())
    });
    drop(tasks);
    runtime.shutdown_background();
    result
}

/// How many connections of clients stand.
#[derive(Default)]
struct Open {
    count: Cell<usize>,
    changed: tokio::sync::Notify,
}

impl Open {
    async fn none(&self) {
        while self.count.get() > 0 {
            self.changed.notified().await;
        }
    }
}

async fn accept(
    listener: &TcpListener,
    pool: &Rc<Pool>,
    stop: &Stop,
    report: &Report,
    open: &Rc<Open>,
) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let (pool, stop) = (pool.clone(), stop.clone());
                let (report, open) = (report.clone(), open.clone());
                open.count.set(open.count.get() + 1);
                spawn_local(async move {
                    converse(socket, peer, &pool, &stop, &report).await;
                    open.count.set(open.count.get().saturating_sub(1));
                    open.changed.notify_one();
                });
            }
            // Too many open files, or a client that went away at once.
            Err(_) => sleep(TRY_AGAIN).await,
        }
    }
}

/// All requests of one connection.
async fn converse(
    socket: TcpStream,
    peer: SocketAddr,
    pool: &Rc<Pool>,
    stop: &Stop,
    report: &Report,
) {
    // Answers go as they come.
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request| async move {
        let what = format!("{} {}", request.method(), request.uri().path());
        let answer = relay::answer(pool, request, peer).await;
        Ok::<_, Infallible>(answer.unwrap_or_else(|refusal| {
            report(&format!("{peer} {what}: {} {}", refusal.status.as_u16(), refusal.reason));
            refusal.response()
        }))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::pin!(connection);
    // What is wrong with a client's connection is the client's affair.
    tokio::select! {
        _ = &mut connection => {}
        () = stop.called(1) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
