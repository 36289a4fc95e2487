"""Runs a box (a core module) under the `wasmtime` package: run_wasmtime.py FILE [ARG...]"""

import sys

from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig


def main() -> int:
    path, *args = sys.argv[1:]
    engine = Engine()
    store = Store(engine)
    wasi = WasiConfig()
    wasi.argv = ["box", *args]
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    store.set_wasi(wasi)
    linker = Linker(engine)
    linker.define_wasi()
    instance = linker.instantiate(store, Module.from_file(engine, path))
    try:
        instance.exports(store)["_start"](store)
    except ExitTrap as exit:
        return exit.code
    return 0


sys.exit(main())
