//! Runs the guest's start-up under wizer and takes the state it leaves.

use crate::boot::{BootError, ImageRange, Reserved, boot};
use crate::cache::CodeCache;
use crate::digest::{Digest, digest_of};
use crate::frozen::FrozenCode;
use crate::life::Life;
use crate::{CacheError, LinkError, LinkInput, Output};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasmtime::{
    Caller, Extern, ExternType, Func, Instance, Linker, Memory, Module, Store, TypedFunc, Val,
};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};

/// An initialised guest: everything but the image as a module, and the image in the instance's memory.
pub struct State<T: 'static> {
    /// The snapshot as wizer writes it, with zeros where the image lies.
    pub module: Vec<u8>,
    /// The regions that become part of the module.
    pub code: Option<FrozenCode>,
    store: Store<T>,
    memory: Memory,
    image: ImageRange,
    /// Bytes of the image that are in memory.
    front: usize,
}

impl<T> State<T> {
    /// The image's address and length, and its front as the guest left it.
    pub fn image(&self) -> (u32, usize, &[u8]) {
        // The range was checked against the memory when it was reserved, and memories do not shrink.
        let ImageRange { start, end } = self.image;
        let bytes = &self.memory.data(&self.store)[start..start + self.front];
        (start as u32, end - start, bytes)
    }
}

/// No life at all.
pub struct Unlived;

/// What stands in for the host: nothing but a place for messages of a failing guest.
#[derive(Default)]
pub struct Host {
    /// What the guest wrote to any file descriptor.
    messages: Vec<u8>,
}

/// The export by which a guest is told what becomes of it.
const COMPONENT: &str = "boxer-component";

/// The export by which a guest that has lived is told that the table of its regions is written.
const THAW: &str = "boxer-life-thaw";

/// The export by which a guest is told how much memory there will be.
const ARENA: &str = "boxer-arena";

impl Life for Unlived {
    type Host = Host;

    fn happens(&self) -> bool {
        false
    }

    fn instantiate(
        &mut self,
        cache: &CodeCache,
        module: &Module,
    ) -> Result<(Store<Host>, Instance), LinkError> {
        let mut store = Store::new(cache.engine(), Host::default());
        let instance = instantiate(&mut store, module)?;
        Ok((store, instance))
    }

    fn messages<'a>(&self, store: &'a Store<Host>) -> &'a [u8] {
        &store.data().messages
    }

    fn live(&mut self, _: &mut Store<Host>, _: Instance) -> Result<(), LinkError> {
        Ok(())
    }
}

/// Boots the guest, lets it live and takes its state. `arena`: memory that it will have beside, in bytes, if that is not all.
pub fn take<L: Life>(
    guest: &[u8],
    cache: &CodeCache,
    input: &mut LinkInput<'_>,
    life: &mut L,
    arena: Option<u32>,
) -> Result<State<L::Host>, LinkError> {
    let wizer = Wizer::new();
    let (context, instrumented) =
        wizer.instrument(guest).map_err(|error| LinkError::Guest(format!("{error:#}")))?;
    let key: Digest = digest_of(&instrumented);
    let module = cache.module::<CacheError>(&key, || Ok(instrumented))?;

    let (mut store, instance) = life.instantiate(cache, &module)?;
    if input.output == Output::Component
        && let Ok(tell) = instance.get_typed_func::<(), ()>(&mut store, COMPONENT)
    {
        tell.call(&mut store, ()).map_err(|error| BootError::Init(format!("{error:#}")))?;
    }
    if let Some(arena) = arena {
        let tell: TypedFunc<u32, ()> = instance
            .get_typed_func(&mut store, ARENA)
            .map_err(|error| BootError::Contract(ARENA, error.to_string()))?;
        tell.call(&mut store, arena).map_err(|error| BootError::Init(format!("{error:#}")))?;
    }
    let boot_len = if life.happens() { input.image_len } else { input.boot_len };
    let lengths = (input.image_len, boot_len);
    let room = input.frozen.as_ref().map_or(0, |frozen| frozen.most_bytes());
    let reserved = boot(&mut store, instance, input.image, lengths, input.config, room);
    let Reserved { image, frozen: table } = match reserved {
        Ok(reserved) => reserved,
        Err(BootError::Init(cause)) => {
            return Err(BootError::Init(with_messages(life.messages(&store), &cause)).into());
        }
        Err(error) => return Err(error.into()),
    };
    let messages = life.messages(&store);
    if !messages.is_empty() {
        return Err(BootError::Init(with_messages(messages, "it wrote a message")).into());
    }
    life.live(&mut store, instance)?;
    let memory = instance
        .get_memory(&mut store, "memory")
        .ok_or_else(|| BootError::Contract("memory", "missing".to_owned()))?;
    let code = match (&input.frozen, table) {
        (Some(frozen), Some(table)) => {
            let desk = desk_of(&mut store, instance)?;
            let first_slot = first_slot(&mut store, instance)?;
            let bytes = memory.data_mut(&mut store);
            let code = frozen.generate(bytes, desk, first_slot, image, table)?;
            if let Ok(thaw) = instance.get_typed_func::<(), ()>(&mut store, THAW) {
                thaw.call(&mut store, ()).map_err(|e| BootError::Init(format!("{e:#}")))?;
            }
            Some(code)
        }
        _ => None,
    };
    let mut state = Snapshotter { store: &mut store, instance, image };
    let module = ready(wizer.snapshot(&context, &mut state))
        .ok_or_else(|| LinkError::Guest("wizer waits for something".to_owned()))?
        .map_err(|error| LinkError::Guest(format!("{error:#}")))?;
    let boot_len = usize::try_from(boot_len).unwrap_or(usize::MAX);
    let front = boot_len.min(image.end - image.start);
    Ok(State { module, code, store, memory, image, front })
}

/// The address of [`translate::desk::Desk`].
fn desk_of<T>(store: &mut Store<T>, instance: Instance) -> Result<u32, BootError> {
    let global = instance.get_global(&mut *store, "boxer-desk");
    match global.map(|global| global.get(&mut *store)) {
        Some(Val::I32(desk)) => Ok(desk as u32),
        _ => Err(BootError::Contract("boxer-desk", "missing".to_owned())),
    }
}

/// Length of the function table: what is added comes behind.
fn first_slot<T>(store: &mut Store<T>, instance: Instance) -> Result<u32, BootError> {
    const TABLE: &str = "__indirect_function_table";
    let table = instance.get_table(&mut *store, TABLE).map(|table| table.size(&*store));
    let len = table.ok_or_else(|| BootError::Contract(TABLE, "missing".to_owned()))?;
    u32::try_from(len).map_err(|_| BootError::Contract(TABLE, "too long".to_owned()))
}

fn with_messages(messages: &[u8], cause: &str) -> String {
    let messages = String::from_utf8_lossy(messages);
    let messages = messages.trim_end();
    if messages.is_empty() { cause.to_owned() } else { format!("{cause}: {messages}") }
}

/// Instantiates with imports that fail when called, except that `fd_write` keeps the text.
fn instantiate(store: &mut Store<Host>, module: &Module) -> Result<Instance, BootError> {
    let mut linker = Linker::new(store.engine());
    for import in module.imports() {
        let ExternType::Func(ty) = import.ty() else {
            let what =
                format!("imports {}.{}, which is not a function", import.module(), import.name());
            return Err(BootError::Instantiate(what));
        };
        let name = import.name().to_owned();
        let call = move |caller: Caller<'_, Host>, params: &[Val], results: &mut [Val]| {
            if name == "fd_write" {
                return fd_write(caller, params, results);
            }
            Err(wasmtime::Error::msg(format!("called {name}, but there is no host while it boots")))
        };
        let func = Func::new(&mut *store, ty, call);
        linker
            .define(&*store, import.module(), import.name(), func)
            .map_err(|error| BootError::Instantiate(format!("{error:#}")))?;
    }
    linker.instantiate(store, module).map_err(|error| BootError::Instantiate(format!("{error:#}")))
}

/// Longest message that is kept, in bytes.
const MAX_MESSAGES: usize = 64 << 10;

/// WASI preview 1's `fd_write(fd, iovs, iovs_len, nwritten) -> errno`, into the message buffer.
fn fd_write(
    mut caller: Caller<'_, Host>,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let arg = |i: usize| params.get(i).and_then(Val::i32).unwrap_or(0) as u32 as usize;
    let (iovs, count, nwritten) = (arg(1), arg(2), arg(3));
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(wasmtime::Error::msg("fd_write: no memory"));
    };
    let (data, host) = memory.data_and_store_mut(&mut caller);
    let word = |data: &[u8], at: usize| -> Option<usize> {
        let bytes = data.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let mut written = 0_usize;
    for i in 0..count.min(1024) {
        let at = iovs + 8 * i;
        let (Some(start), Some(len)) = (word(data, at), word(data, at + 4)) else { break };
        let Some(text) = data.get(start..start + len) else { break };
        let room = MAX_MESSAGES.saturating_sub(host.messages.len());
        host.messages.extend_from_slice(&text[..text.len().min(room)]);
        written += len;
    }
    if let Some(place) = data.get_mut(nwritten..nwritten + 4) {
        place.copy_from_slice(&(written as u32).to_le_bytes());
    }
    if let Some(errno) = results.first_mut() {
        *errno = Val::I32(0);
    }
    Ok(())
}

/// The instance's state for wizer, with the image left out: finding segments in it byte by byte
/// would take long and give thousands of them, where one is right.
struct Snapshotter<'a, T: 'static> {
    store: &'a mut Store<T>,
    instance: Instance,
    image: ImageRange,
}

impl<T: Send> InstanceState for Snapshotter<'_, T> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let value = self
            .instance
            .get_global(&mut *self.store, name)
            .map(|global| global.get(&mut *self.store));
        match value {
            Some(Val::I32(x)) => SnapshotVal::I32(x),
            Some(Val::I64(x)) => SnapshotVal::I64(x),
            Some(Val::F32(x)) => SnapshotVal::F32(x),
            Some(Val::F64(x)) => SnapshotVal::F64(x),
            Some(Val::V128(x)) => SnapshotVal::V128(x.as_u128()),
            // wizer refuses mutable reference globals, and asks for no other.
            _ => unreachable!("wizer asked for the global {name}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let Some(memory) = self.instance.get_memory(&mut *self.store, name) else {
            unreachable!("wizer asked for the memory {name}");
        };
        let real = memory.data(&*self.store);
        // Zeroed memory from the system: the untouched part costs address space only.
        let mut shadow = vec![0_u8; real.len()];
        shadow[..self.image.start].copy_from_slice(&real[..self.image.start]);
        copy_nonzero_pages(&real[self.image.end..], &mut shadow[self.image.end..]);
        contents(&shadow);
    }
}

/// Copies without touching destination pages that stay zero.
fn copy_nonzero_pages(from: &[u8], to: &mut [u8]) {
    const PAGE: usize = 4096;
    static ZEROS: [u8; PAGE] = [0; PAGE];
    for (from, to) in from.chunks(PAGE).zip(to.chunks_mut(PAGE)) {
        if from != &ZEROS[..from.len()] {
            to.copy_from_slice(from);
        }
    }
}

/// The output of a future that never waits.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
