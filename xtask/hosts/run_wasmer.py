"""Runs a box (a core module) under Wasmer's SDK for Python: run_wasmer.py [--env NAME=VALUE]… FILE [ARG…]"""

import asyncio
import os
import signal
import sys

from wasmer_sdk import PackageCommandDefinition, PackageDefinition, Wasmer


async def main() -> None:
    args, env = sys.argv[1:], {}
    while args and args[0] == "--env":
        name, value = args[1].split("=", 1)
        env[name] = value
        del args[:2]
    path, *args = args
    with open(path, "rb") as file:
        definition = PackageDefinition(modules={"box": file.read()}, commands={"box": PackageCommandDefinition(module="box")})
    async with Wasmer(output_bytes=1 << 30) as wasmer:
        package = await wasmer.packages.create(definition)
        async with await wasmer.sandboxes.create(packages=[package]) as sandbox:
            command = sandbox.command(package, args, env=env)
            process = await command.spawn(stdin="pipe", stdout="pipe", stderr="pipe")

            async def forward(stream, fd):
                async for piece in stream:
                    while piece:
                        piece = piece[await asyncio.to_thread(os.write, fd, piece) :]

            async def feed():
                while piece := await asyncio.to_thread(os.read, 0, 1 << 16):
                    await process.stdin.write(piece)
                await process.stdin.close()

            feeding = asyncio.create_task(feed())
            await asyncio.gather(forward(process.stdout, 1), forward(process.stderr, 2))
            output = await process.wait()
            feeding.cancel()
            # Without waiting for the thread that reads.
            os._exit(output.exit_code)


# As programs in C: the SDK has no word for either.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
asyncio.run(main())

