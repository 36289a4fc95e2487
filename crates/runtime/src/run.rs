//! Running a finished box.

use crate::bridge::Bridge;
use crate::descriptor::Descriptor;
use crate::error::{RunError, start_error};
use crate::exec::Attach;
use crate::freeze::{self, Freezer, Freezing, Ground};
use crate::identity::{Form, Source};
use crate::interrupt::Interrupt;
use crate::load;
use crate::network::{self, Serving};
use crate::options::{Preopen, RunOptions};
use crate::outside;
use crate::preview1::{self, Files, State, Streams};
use crate::record::{self, RecordError, RecordTo};
use crate::stream::Sink;
use crate::translator::{Translation, Translator};
use link::{CodeCache, Digest};
use std::net::SocketAddr;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::{self, bindings::sync::Command};
use wasmtime_wasi::sockets::SocketAddrUse;
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
    mut options: RunOptions,
) -> Result<Outcome, RunError> {
    options.descriptors.extend(options.attach.as_ref().and_then(Attach::descriptor));
    match source.form {
        Form::Module => {
            let record = options.record.take();
            if record.is_some() {
                // When code is compiled depends on the host, and what a host writes to freeze a box is in no record.
                options.translation.compiles = false;
                options.freezer.take().iter().for_each(Freezer::refuse_recorded);
            }
            let loaded = load::module(cache, source)?;
            let freezer = listen(&mut options)?;
            let translation = options.translation.clone();
            let (mut store, sinks) = module_store(cache, options)?;
            let linker = match record {
                None => preview1::linker(cache)?,
                Some(_) => {
                    record::check_imports(&loaded.module)?;
                    preview1::recording_linker(cache)?
                }
            };
            let code = linker.instantiate_pre(&loaded.module).map_err(start_error)?;
            let (instance, mapped) = loaded.instantiate(&code, &mut store, source)?;
            if let Some(freezer) = freezer {
                let file = source.keep().map_err(|error| source.error(error))?;
                let backing = mapped
                    .into_iter()
                    .filter_map(|(segment, range)| freeze::mapped(segment, range, &file))
                    .collect();
                let ground = Ground::new(cache.clone(), loaded.module, file);
                let freezing = Freezing::attach(&mut store, instance, &freezer, ground, backing);
                store.data_mut().freeze_by(freezer, freezing);
            }
            if let Some(to) = record {
                let recording = begin_record(&mut store, instance, source, &to)?;
                store.data_mut().recording = Some(recording);
            }
            let status = call_start(cache, &mut store, instance, &translation);
            end_record(&mut store, instance, &status)?;
            status.map(|status| sinks.outcome(status))
        }
        Form::Component => {
            if options.record.is_some() {
                return Err(RecordError::Component.into());
            }
            if let Some(freezer) = options.freezer.take() {
                freezer.refuse_component();
            }
            let (component, _) = load::component(cache, source)?;
            let mut linker = wasmtime::component::Linker::<P2>::new(cache.engine());
            p2::add_to_linker_sync(&mut linker).map_err(start_error)?;
            let has_sockets = component
                .component_type()
                .imports(cache.engine())
                .any(|(name, _)| name.starts_with(SOCKETS));
            if options.network.is_some() && !has_sockets {
                return Err(RunError::Start(
                    "it was built as a component with network=none; build it without that, or as a module"
                        .to_owned(),
                ));
            }
            if let Some(attach) = options.attach.as_ref().filter(|_| !has_sockets) {
                attach.refuse("a component built with network=none cannot be reached into; build it without that, or as a module");
            }
            let (wasi, sinks) = component_context(options, has_sockets)?;
            let mut store = Store::new(cache.engine(), P2 { wasi, table: ResourceTable::new() });
            let command =
                Command::instantiate(&mut store, &component, &linker).map_err(start_error)?;
            let result = command.wasi_cli_run().call_run(&mut store);
            let status = status(result.map(|result| i32::from(result.is_err())))?;
            Ok(sinks.outcome(status))
        }
    }
}

/// Begins the record of a box that has not been started.
fn begin_record(
    store: &mut Store<State>,
    instance: wasmtime::Instance,
    source: &Source<'_>,
    to: &RecordTo,
) -> Result<record::Recording, RunError> {
    let counts = record::Counts::of(&mut *store, instance);
    let digest = source.content().digest().map_err(|error| source.error(error))?;
    Ok(record::Recording::begin(to, &link::hex(&digest), counts)?)
}

/// Ends the record of a box that has ended, if there is one.
fn end_record(
    store: &mut Store<State>,
    instance: wasmtime::Instance,
    status: &Result<i32, RunError>,
) -> Result<(), RunError> {
    let Some(recording) = store.data_mut().recording.take() else { return Ok(()) };
    let end = match status {
        Ok(status) => record::End::Exit(*status),
        Err(RunError::Interrupted) => record::End::Interrupted,
        // It could not be written.
        Err(RunError::Record(_)) => return Ok(()),
        Err(_) => record::End::Failed,
    };
    let memory = instance.get_memory(&mut *store, link::MEMORY);
    let bytes = memory.map(|memory| memory.data(&*store)).unwrap_or_default();
    Ok(recording.finish(&end, bytes)?)
}

/// Compiles a box into the cache; where its code is.
pub fn prepare(cache: &CodeCache, source: &Source<'_>) -> Result<Digest, RunError> {
    match source.form {
        Form::Module => load::module(cache, source).map(|loaded| loaded.key),
        Form::Component => load::component(cache, source).map(|(_, key)| key),
    }
}

/// Calls `_start`, with a translator beside it if the options say so; the status it ends with.
pub fn call_start(
    cache: &CodeCache,
    store: &mut Store<State>,
    instance: wasmtime::Instance,
    translation: &Translation,
) -> Result<i32, RunError> {
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start").map_err(start_error)?;
    let translator = Translator::attach(store, instance, cache, translation);
    store.data_mut().translator = translator;
    let status = status(start.call(&mut *store, ()).map(|()| 0));
    if let Some(translator) = store.data_mut().translator.take() {
        translator.finish(store);
    }
    status
}

/// The store of a module: what it is given, and where its output goes.
pub fn module_store(
    cache: &CodeCache,
    mut options: RunOptions,
) -> Result<(Store<State>, Sinks), RunError> {
    let mut wasi = WasiCtxBuilder::new();
    let mut serving: Vec<Serving> = start_network(&mut options)?.into_iter().collect();
    options.configure(&mut wasi)?;
    if !options.sockets.is_empty() {
        let served = std::mem::take(&mut options.sockets);
        let (descriptor, sockets) = network::serve_sockets(served).map_err(RunError::Network)?;
        options.descriptors.push(descriptor);
        serving.push(sockets);
    }
    options.name_descriptors(&mut wasi);
    // `preview1` takes them all.
    wasi.env("BOXER_EXIT_MAX", "255");
    let open =
        |preopen: &Preopen| preview1::open_dir(&preopen.host).map(|dir| (dir, preopen.writable));
    // Without them the box does with what WASI has.
    let dirs: Result<Vec<_>, _> = options.preopens.iter().map(open).collect();
    let files = dirs.ok().filter(|dirs| !dirs.is_empty()).map(Files::new);
    if files.is_some() {
        wasi.env("BOXER_FILES", options.next_descriptor().to_string());
    }
    if options.outside.is_some() {
        wasi.env("BOXER_IMAGE", outside::DESCRIPTOR.to_string());
    }
    let sinks = Sinks {
        stdout: options.stdout.into_sink(),
        stderr: options.stderr.into_sink(),
        _bridges: Vec::new(),
        _serving: serving,
    };
    let out = [sinks.stdout.clone(), sinks.stderr.clone()];
    let extra = options.descriptors.into_iter().map(Descriptor::into_end).collect();
    let waker = options.interrupt.as_ref().map(Interrupt::wakes).transpose();
    let waker = waker.map_err(|error| RunError::Start(error.to_string()))?;
    let streams = Streams::new(options.stdin.into_source(), out, extra, files, waker);
    let state = State::new(wasi, streams, options.idle, options.outside);
    Ok((Store::new(cache.engine(), state), sinks))
}

/// What freezes the box, which can be told from now on.
pub fn listen(options: &mut RunOptions) -> Result<Option<Freezer>, RunError> {
    let freezer = options.freezer.take();
    if let Some(freezer) = &freezer
        && !freezer.has_control()
        && !options.descriptors.iter().any(|descriptor| descriptor.variable == Descriptor::CONTROL)
    {
        let made = Descriptor::new(Descriptor::CONTROL);
        let (descriptor, ours) = made.map_err(|error| RunError::Start(error.to_string()))?;
        options.descriptors.push(descriptor);
        freezer.told_by(ours);
    }
    Ok(freezer)
}

/// Begins to serve the network that a box is granted; its stream is one more descriptor.
fn start_network(options: &mut RunOptions) -> Result<Option<Serving>, RunError> {
    let Some(network) = options.network.take() else { return Ok(None) };
    let (descriptor, serving) = network.start().map_err(RunError::Network)?;
    options.descriptors.push(descriptor);
    Ok(Some(serving))
}

/// What a component that can have connections imports, whatever the version.
const SOCKETS: &str = "wasi:sockets/tcp@";

/// What a component is given, and where its output goes. Of this system's network it sees the streams to this process,
/// one of which leads to what it is granted.
fn component_context(
    mut options: RunOptions,
    has_sockets: bool,
) -> Result<(WasiCtx, Sinks), RunError> {
    let mut wasi = WasiCtxBuilder::new();
    options.configure(&mut wasi)?;
    let network = start_network(&mut options)?;
    if network.is_none() {
        wasi.env("BOXER_NET", "none");
    }
    let mut bridges = Vec::new();
    for descriptor in options.descriptors.drain(..).filter(|_| has_sockets) {
        let variable = descriptor.variable;
        let bridge = Bridge::open(descriptor.into_end()).map_err(RunError::Network)?;
        wasi.env(variable, bridge.value());
        bridges.push(bridge);
    }
    let ours: Vec<SocketAddr> = bridges.iter().map(Bridge::address).collect();
    wasi.allow_tcp(!ours.is_empty()).socket_addr_check(move |address, usage| {
        let allowed = match usage {
            // What connecting does first.
            SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
            SocketAddrUse::TcpConnect => ours.contains(&address),
            _ => false,
        };
        Box::pin(std::future::ready(allowed))
    });
    options.stdin.apply(&mut wasi);
    let sinks = Sinks {
        stdout: options.stdout.into_sink(),
        stderr: options.stderr.into_sink(),
        _bridges: bridges,
        _serving: network.into_iter().collect(),
    };
    match &sinks.stdout {
        Some(sink) => wasi.stdout(sink.clone()),
        None => wasi.inherit_stdout(),
    };
    match &sinks.stderr {
        Some(sink) => wasi.stderr(sink.clone()),
        None => wasi.inherit_stderr(),
    };
    Ok((wasi.build(), sinks))
}

/// What goes on beside a box: output streams that are not this process's own, its network, and sockets.
pub struct Sinks {
    stdout: Option<Sink>,
    stderr: Option<Sink>,
    /// They end before what they lead to.
    _bridges: Vec<Bridge>,
    /// Served as long as this lives.
    _serving: Vec<Serving>,
}

impl Sinks {
    /// The outcome with this status and what was captured.
    pub fn outcome(&self, status: i32) -> Outcome {
        let taken = |sink: &Option<Sink>| sink.as_ref().map(Sink::take).unwrap_or_default();
        Outcome { status, stdout: taken(&self.stdout), stderr: taken(&self.stderr) }
    }
}

/// `proc_exit` arrives as an error.
pub fn status(result: wasmtime::Result<i32>) -> Result<i32, RunError> {
    result.or_else(|error| match error.downcast_ref::<I32Exit>() {
        Some(exit) => Ok(exit.0),
        None if error.is::<preview1::Interrupted>() => Err(RunError::Interrupted),
        None => Err(match error.downcast::<RecordError>() {
            Ok(error) => error.into(),
            Err(error) => RunError::Trap(format!("{error:#}")),
        }),
    })
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
