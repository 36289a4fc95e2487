//! A host that knows nothing of boxes, for tests: what `wasmtime run` does with a component, by wasmtime-wasi alone.
//!
//! `plain-host [--network] [--env NAME=VALUE]… COMPONENT [ARG]…`. `--network` is wasmtime's `-S inherit-network` with
//! `-S allow-ip-name-lookup`.

use link::{CodeCache, digest_of};
use std::error::Error;
use std::process::ExitCode;
use wasmtime::Store;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::p2::{self, bindings::sync::Command};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.inherit_stdio().arg("box");
    let mut words = std::env::args().skip(1);
    let file = loop {
        match words.next().ok_or("which component?")?.as_str() {
            "--network" => {
                wasi.allow_tcp(true).allow_udp(true).inherit_network().allow_ip_name_lookup(true);
            }
            "--env" => {
                let word = words.next().unwrap_or_default();
                let (name, value) = word.split_once('=').ok_or("--env NAME=VALUE")?;
                wasi.env(name, value);
            }
            file => break file.to_owned(),
        }
    };
    wasi.args(&words.collect::<Vec<_>>());

    let bytes = std::fs::read(file)?;
    let cache = CodeCache::new(link::engine()?, std::env::temp_dir().join("boxer-plain-host"));
    let component = cache.component::<link::CacheError>(&digest_of(&bytes), || Ok(bytes))?;
    let mut linker = Linker::<Host>::new(cache.engine());
    p2::add_to_linker_sync(&mut linker)?;
    let host = Host { wasi: wasi.build(), table: ResourceTable::new() };
    let mut store = Store::new(cache.engine(), host);
    let command = Command::instantiate(&mut store, &component, &linker)?;
    match command.wasi_cli_run().call_run(&mut store) {
        Ok(Ok(())) => Ok(ExitCode::SUCCESS),
        Ok(Err(())) => Ok(ExitCode::FAILURE),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(ExitCode::from(u8::try_from(exit.0)?)),
            None => Err(error.into()),
        },
    }
}
