"""Runs a box under the `wasmtime` package: run_wasmtime.py [--env NAME=VALUE]… [--dir HOST GUEST]… FILE [ARG…]"""

import sys

from wasmtime import Config, Engine, ExitTrap, Linker, Module, Store, WasiConfig
from wasmtime import component


def main() -> int:
    args = sys.argv[1:]
    wasi, env = WasiConfig(), []
    while args and args[0].startswith("--"):
        option = args.pop(0)
        if option == "--env":
            env.append(tuple(args.pop(0).split("=", 1)))
        elif option == "--dir":
            host, guest = args.pop(0), args.pop(0)
            wasi.preopen_dir(host, guest)
    path, *args = args
    wasi.argv = ["box", *args]
    wasi.env = env
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    with open(path, "rb") as file:
        is_component = file.read(8)[4] == 0x0D
    config = Config()
    config.cache = True
    engine = Engine(config)
    store = Store(engine)
    store.set_wasi(wasi)
    try:
        if is_component:
            linker = component.Linker(engine)
            linker.add_wasip2()
            instance = linker.instantiate(store, component.Component.from_file(engine, path))
            names = (f"wasi:cli/run@0.2.{patch}" for patch in range(99))
            found = next(filter(None, (instance.get_export_index(store, name) for name in names)))
            run = instance.get_export_index(store, "run", found)
            instance.get_func(store, run)(store)
        else:
            linker = Linker(engine)
            linker.define_wasi()
            instance = linker.instantiate(store, Module.from_file(engine, path))
            instance.exports(store)["_start"](store)
    except ExitTrap as exit:
        return exit.code
    return 0


sys.exit(main())
