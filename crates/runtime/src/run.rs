//! Running a finished box.

use crate::error::RunError;
use crate::identity::{Form, Source};
use crate::options::RunOptions;
use crate::stream::Sink;
use link::CodeCache;
use wasmtime::component::ResourceTable;
use wasmtime::{Linker, Store};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::{self, bindings::sync::Command};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// How a box ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit status (128 + n when signal n ended its first process).
    pub status: i32,
    /// What it wrote to standard output, when that was captured.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, when that was captured.
    pub stderr: Vec<u8>,
}

/// Runs a box to its end.
pub fn run(
    cache: &CodeCache,
    source: &Source<'_>,
    options: RunOptions,
) -> Result<Outcome, RunError> {
    let (wasi, sinks) = context(options)?;
    let ended = match source.form {
        Form::Module => {
            let module = cache.module(&source.digest, || source.read())?;
            let mut store = Store::new(cache.engine(), p1_context(wasi));
            let instance =
                p1_linker(cache)?.instantiate(&mut store, &module).map_err(start_error)?;
            call_start(&mut store, instance)
        }
        Form::Component => {
            let component = cache.component(&source.digest, || source.read())?;
            let mut linker = wasmtime::component::Linker::<P2>::new(cache.engine());
            p2::add_to_linker_sync(&mut linker).map_err(start_error)?;
            let mut wasi = wasi;
            let mut store =
                Store::new(cache.engine(), P2 { wasi: wasi.build(), table: ResourceTable::new() });
            let command =
                Command::instantiate(&mut store, &component, &linker).map_err(start_error)?;
            let result = command.wasi_cli_run().call_run(&mut store);
            status(result.map(|result| i32::from(result.is_err())))
        }
    };
    ended.map(|status| sinks.outcome(status))
}

/// Compiles a box into the cache.
pub fn prepare(cache: &CodeCache, source: &Source<'_>) -> Result<(), RunError> {
    match source.form {
        Form::Module => cache.module(&source.digest, || source.read()).map(|_| ()),
        Form::Component => cache.component(&source.digest, || source.read()).map(|_| ()),
    }
}

/// A linker with WASI preview 1.
pub fn p1_linker(cache: &CodeCache) -> Result<Linker<WasiP1Ctx>, RunError> {
    let mut linker = Linker::new(cache.engine());
    p1::add_to_linker_sync(&mut linker, |context| context).map_err(start_error)?;
    // wasmtime-wasi refuses statuses from 126 on; shells and docker give them a meaning.
    linker.allow_shadowing(true);
    let exit = |status: i32| -> wasmtime::Result<()> { Err(I32Exit(status).into()) };
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", exit).map_err(start_error)?;
    Ok(linker)
}

/// The state of preview 1.
pub fn p1_context(mut wasi: WasiCtxBuilder) -> WasiP1Ctx {
    wasi.build_p1()
}

/// Calls `_start`; the status it ends with.
pub fn call_start(
    store: &mut Store<WasiP1Ctx>,
    instance: wasmtime::Instance,
) -> Result<i32, RunError> {
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start").map_err(start_error)?;
    status(start.call(store, ()).map(|()| 0))
}

/// What a WASI command is given, and where its output goes.
pub fn context(options: RunOptions) -> Result<(WasiCtxBuilder, Sinks), RunError> {
    let mut wasi = WasiCtxBuilder::new();
    options.configure(&mut wasi)?;
    options.stdin.apply(&mut wasi);
    let sinks = Sinks { stdout: options.stdout.into_sink(), stderr: options.stderr.into_sink() };
    match &sinks.stdout {
        Some(sink) => wasi.stdout(sink.clone()),
        None => wasi.inherit_stdout(),
    };
    match &sinks.stderr {
        Some(sink) => wasi.stderr(sink.clone()),
        None => wasi.inherit_stderr(),
    };
    Ok((wasi, sinks))
}

/// Output streams that are not this process's own.
pub struct Sinks {
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

impl Sinks {
    /// The outcome with this status and what was captured.
    pub fn outcome(&self, status: i32) -> Outcome {
        let taken = |sink: &Option<Sink>| sink.as_ref().map(Sink::take).unwrap_or_default();
        Outcome { status, stdout: taken(&self.stdout), stderr: taken(&self.stderr) }
    }
}

/// `proc_exit` arrives as an error.
fn status(result: wasmtime::Result<i32>) -> Result<i32, RunError> {
    result.or_else(|error| match error.downcast_ref::<I32Exit>() {
        Some(exit) => Ok(exit.0),
        None => Err(RunError::Trap(format!("{error:#}"))),
    })
}

/// An error before the box's own code runs.
pub fn start_error(error: wasmtime::Error) -> RunError {
    RunError::Start(format!("{error:#}"))
}

/// The state of preview 2.
struct P2 {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for P2 {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
