#!/usr/bin/env python3
"""The same boxes under every host: hosts.py CONFIG [--host PART]… [--box NAME]… [--feature PART]…
[--form FORM] [--verbose] [--cells FILE] [--page FILE]

`--cells` keeps what was seen and adds what was seen before, `--page` writes it into docs/hosts.md. CONFIG is a JSON file: `boxes`: name → `compiled`, `plain`, `component` … → file; `boxer`; `cache`, `made`: folders; `mirror` of
Debian; `hosts`: names (absent: all of `hosts.toml`); `probe`: whether hosts are judged.

Each cell prints `ok`, `host: REASON` or `fail`. Where a box fails, `python.wasm` is tried on the same: the reason lies in the host if that
fails, too, and stands in `hosts.toml`. A reason that is no longer one is an error.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

sys.dont_write_bytecode = True

import features
import page
from features import Absent, Failed, Started
from install import Cache, Missing

SCRIPTS = Path(__file__).parent


class Run:
    """A box, or the program that hosts are judged by, under a host in one form."""

    def __init__(self, host, form, box, file, places, measures):
        self.host, self.form, self.box, self.file = host, form, box, file
        self.places, self.measures = places, measures
        self.tells_size = host.get("tells_size", False)
        self.interprets = host.get("interprets", False)
        self.one_name = host.get("one_name", False)

    def command(self, arguments, sh, py, env, folder, terminal):
        how = self.host.get("terminal", {}).get(self.form) if terminal else None
        how = how or self.host["forms"][self.form]
        options = []
        for name, value in (env or {}).items():
            options += self.words("env", name=name, value=value)
        if folder:
            options += self.words("dir", host=folder, guest="/data")
        if self.box == "debian":
            program = ["python3", "-c", py]
        elif self.box == "probe":
            program = ["-c", py]
        else:
            program = ["sh", "-c", sh, "sh"]
        words = []
        for word in how.split():
            match word:
                case "{options}":
                    words += options
                case "{arguments}":
                    words += [*program, *arguments]
                case _:
                    words.append(word.format(box=self.file, **self.places))
        return words

    def words(self, which, **values):
        if which not in self.host:
            raise Absent(f"the host takes no {which}")
        return [word.format(**values) for word in self.host[which].split()]

    def start(self, *arguments, sh, py, env=None, folder=None, terminal=False):
        command = self.command(arguments, sh, py, env, folder, terminal)
        patience = features.PATIENCE * (4 if self.interprets else 1)
        return Started(command, patience, {**os.environ, "NO_COLOR": "1"}, terminal)

    def whole(self, *arguments, input=b"", **more):
        with self.start(*arguments, **more) as started:
            return started.rest(input)


def tried(run, title):
    """What a feature measured, or an error."""
    try:
        return features.FEATURES[title](run), None
    except (Failed, OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return None, error


class Matrix:
    def __init__(self, config, chosen):
        self.config, self.chosen = config, chosen
        self.cache = Cache(config["cache"], config.get("mirror", ""))
        with open(SCRIPTS / "hosts.toml", "rb") as file:
            rows = tomllib.load(file)
        self.hosts = [host for host in rows["host"] if self.wants(host["name"])]
        self.probe = self.probe_files(rows["probe"]) if config.get("probe") else None
        self.measures = {}
        self.bad = 0
        # What was seen, and measured: of a host with its form, a box and a feature.
        self.cells = {}
        self.before = {}
        if chosen.cells and os.path.exists(chosen.cells):
            with open(chosen.cells) as file:
                self.before = {tuple(at): tuple(cell) for at, cell in json.load(file)}
        for (label, box, title), (_, measured) in self.before.items():
            if label.startswith("boxer run, ") and title == "3 MB of output" and measured:
                self.measures[box, label.split(", ")[1]] = float(measured.split()[0])

    def probe_files(self, row):
        """The program of others in each form."""
        module = self.cache.of(row["package"]) / row["file"]
        component = module.with_suffix(".component.wasm")
        if not component.exists():
            jco = self.cache.of(row["tool"]) / "node_modules/.bin/jco"
            partial = component.with_suffix(".partial")
            subprocess.run([jco, "new", "--wasi-command", module, "-o", partial], check=True, stdout=subprocess.DEVNULL)
            partial.rename(component)
        return {"module": module, "component": component}

    def wants(self, name):
        names = self.config.get("hosts")
        if names is not None and name not in names:
            return False
        return not self.chosen.host or any(part in name for part in self.chosen.host)

    def run(self):
        for host in self.hosts:
            for form in host["forms"]:
                if self.chosen.form in (None, form):
                    self.one_host(host, form)
                    self.keep()

    def one_host(self, host, form):
        label = f"{host['name']}, {form}"
        try:
            places = {name: self.cache.of(package) for name, package in host.get("packages", {}).items()}
        except Missing as missing:
            print(f"host: {label}: not here: {missing}", flush=True)
            return
        places = {**places, "scripts": SCRIPTS, "boxer": self.config["boxer"]}
        limits = {**host.get("limits", {}).get("any", {}), **host.get("limits", {}).get(form, {})}
        probe = None
        if host.get("judged", True) and self.probe:
            probe = self.prepared(host, form, "probe", self.probe[form], places)
        for box, files in self.config["boxes"].items():
            kind = "component" if form == "component" else host.get("box", "compiled")
            if kind not in files or self.chosen.box and box not in self.chosen.box:
                continue
            run = self.prepared(host, form, box, files[kind], places)
            told, bad = [], []
            for title in features.FEATURES:
                if self.chosen.feature and not any(part in title for part in self.chosen.feature):
                    continue
                reason = limits.get(title)
                measured, error = tried(run, title)
                if error is None:
                    cell = "ok" + (f" ({measured})" if measured else "")
                    if reason:
                        cell, error = "fail", f"works, but hosts.toml says: {reason}"
                elif reason:
                    cell = f"host: {reason}"
                    if probe and tried(probe, title)[1] is None:
                        cell, error = "fail", f"python.wasm can, but hosts.toml says: {reason}; {error}"
                    else:
                        error = None
                else:
                    cell = "fail"
                    if probe and title not in ("3 MB of output", "threads", "a pipeline"):
                        answer = tried(probe, title)[1]
                        error = f"{error} [python.wasm: {answer or 'can'}]"
                self.cells[label, box, title] = (cell, measured)
                if self.chosen.verbose:
                    print(f"    {label}: {box}: {title}: {cell if cell != 'fail' else f'fail: {error}'}", flush=True)
                if cell.startswith("host"):
                    told.append(title)
                elif cell == "fail":
                    bad.append(f"{title}: {error}")
            limited = f" (but by the host's limits: {', '.join(told)})" if told else ""
            print(f"host: {label}: {box}: {'FAILED' if bad else 'ok' + limited}", flush=True)
            for line in bad:
                print(f"    {line}", flush=True)
            self.bad += len(bad)

    def seen(self):
        return self.before | self.cells

    def keep(self):
        """Keeps what this run and those before have seen: a whole run takes hours, and may be made in parts."""
        if self.chosen.cells:
            with open(self.chosen.cells, "w") as file:
                json.dump(list(self.seen().items()), file)

    def prepared(self, host, form, box, file, places):
        """A run, after what the host needs once for each file."""
        how = host.get("prepare", {}).get(form)
        if how:
            made = Path(self.config["made"]) / f"{host['name']} {form} {box}".replace(" ", "-")
            made.mkdir(parents=True, exist_ok=True)
            if "modules" in host and not (made / "node_modules").exists():
                (made / "node_modules").symlink_to(places[host["modules"]] / "node_modules")
                (made / "package.json").write_text('{"type": "module"}')
            mark = made / "of"
            key = f"{os.path.getmtime(file)} {os.path.getsize(file)}"
            if not mark.exists() or mark.read_text() != key:
                words = [word.format(box=file, made=made, **places) for word in how.split()]
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
                mark.write_text(key)
            places = {**places, "made": made}
        return Run(host, form, box, file, places, self.measures)


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("config")
    for name in ("host", "box", "feature"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--form")
    parser.add_argument("--page")
    parser.add_argument("--cells")
    parser.add_argument("--verbose", action="store_true")
    chosen = parser.parse_args()
    with open(chosen.config) as file:
        config = json.load(file)
    matrix = Matrix(config, chosen)
    matrix.run()
    cells = [cell for cell, _ in matrix.cells.values()]
    ok, failed = sum(cell.startswith("ok") for cell in cells), cells.count("fail")
    print(f"hosts: {ok} cells ok, {len(cells) - ok - failed} by the hosts' limits, {failed} fail")
    if chosen.page:
        page.write(chosen.page, matrix.hosts, matrix.seen(), features.FEATURES)
    sys.exit(matrix.bad != 0)


main()
