#!/usr/bin/env python3
"""The same boxes under every host: hosts.py CONFIG [--host PART]… [--box NAME]… [--feature PART]…
[--form FORM] [--verbose] [--page FILE]

What was seen is kept and added to what was seen before; `--page` writes all of it into docs/hosts.md. `--host` and the others choose rows
and columns by a part of their names: `--host none --page docs/hosts.md` runs nothing. CONFIG is a JSON file: `boxes`: name → `compiled`, `plain`, `component` … → file; `boxer`; `cache`, `made`, `cells`: folders; `mirror` of
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
from cells import Cells
from features import OUTPUT_TITLE, Absent, Failed, Started, TooSlow
from install import Cache, Missing

SCRIPTS = Path(__file__).resolve().parent
# The hosts whose times others are compared with: of boxes, and of the program that hosts are judged by.
MEASURE, JUDGED_BY = "boxer run", "wasmtime"


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
        self.all_hosts = rows["host"]
        self.hosts = [host for host in self.all_hosts if self.wants(host["name"])]
        self.probe = self.probe_files(rows["probe"]) if config.get("probe") else None
        self.measures = {}
        self.bad = 0
        self.judged = {}
        self.told = []
        self.cells = Cells(config["cells"])
        for (host, form, box, title), (_, measured) in self.cells.seen.items():
            is_measure = host == (JUDGED_BY if box == "probe" else MEASURE)
            if is_measure and title == OUTPUT_TITLE and measured and host not in [host["name"] for host in self.hosts]:
                self.measures[box, form] = float(measured.split()[0])

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

    def is_chosen(self, title):
        return not self.chosen.feature or any(part in title for part in self.chosen.feature)

    def run(self):
        for host in self.hosts:
            for form in host["forms"]:
                if self.chosen.form in (None, form):
                    self.one_host(host, form)

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
            if host["name"] == JUDGED_BY and self.is_chosen(OUTPUT_TITLE):
                self.cells.add((JUDGED_BY, form, "probe", OUTPUT_TITLE), "ok", tried(probe, OUTPUT_TITLE)[0])
        for box, files in self.config["boxes"].items():
            kind = "component" if form == "component" else host.get("box", "compiled")
            if kind not in files or box not in host.get("boxes", [box]) or self.chosen.box and box not in self.chosen.box:
                continue
            run = self.prepared(host, form, box, files[kind], places)
            told, bad = [], []
            for title in features.FEATURES:
                if not self.is_chosen(title):
                    continue
                reason = limits.get(title)
                measured, error = tried(run, title)
                if error and not reason and not isinstance(error, TooSlow):
                    # A machine that is busy with something else makes nobody fail twice.
                    print(f"    {label}: {box}: {title}: once more after: {error}", flush=True)
                    measured, error = tried(run, title)
                if error is None:
                    cell = "ok" + (f" ({measured})" if measured else "")
                    if reason:
                        error = f"works, but hosts.toml says: {reason}"
                        cell = f"fail: {error}"
                elif reason:
                    cell = f"host: {reason}"
                    if probe and self.judge(probe, title) is None:
                        error = f"python.wasm can, but hosts.toml says: {reason}; {error}"
                        cell = f"fail: {error}"
                    else:
                        error = None
                elif isinstance(error, TooSlow) and probe and isinstance(slow := self.judge(probe, title), TooSlow):
                    measured = f"{error.took:.3f} s"
                    cell = f"host: {error.factor:.0f} times as long as boxer run; python.wasm {slow.factor:.0f} times as long as under wasmtime"
                    error = None
                else:
                    cell = f"fail: {error}"
                    if probe and title not in ("threads", "a pipeline"):
                        answer = self.judge(probe, title)
                        if isinstance(error, TooSlow):
                            measured = f"{error.took:.3f} s"
                            cell = f"fail: {error.factor:.0f} times as long as boxer run"
                        elif answer:
                            cell = f"host: {error}; python.wasm: {answer}"
                            error = None
                        error = error and f"{error} [python.wasm: {answer or 'can'}]"
                    cell = cell[:160].replace("\n", " ").replace("|", "/")
                self.cells.add((host["name"], form, box, title), cell, measured)
                self.told.append(cell)
                if self.chosen.verbose:
                    print(f"    {label}: {box}: {title}: {f'fail: {error}' if cell.startswith('fail') else cell}", flush=True)
                if cell.startswith("host"):
                    told.append(title)
                elif cell.startswith("fail"):
                    bad.append(f"{title}: {error}")
            limited = f" (but by the host's limits: {', '.join(told)})" if told else ""
            print(f"host: {label}: {box}: {'FAILED' if bad else 'ok' + limited}", flush=True)
            for line in bad:
                print(f"    {line}", flush=True)
            self.bad += len(bad)
            self.cells.keep(host["name"])

    def judge(self, probe, title):
        """Why the program of others fails, if it does: once for all boxes."""
        key = (probe.host["name"], probe.form, title)
        if key not in self.judged:
            # Some hosts fail now and then.
            tries = (tried(probe, title)[1] for _ in range(3))
            self.judged[key] = next(filter(None, tries), None)
        return self.judged[key]

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
        run = Run(host, form, box, file, places, self.measures)
        # Less than this drowns in what else a machine does, s; without a judge nobody could say whether it is the host.
        run.floor = 0.05 if self.probe else 0.25
        return run


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("config")
    for name in ("host", "box", "feature"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--form")
    parser.add_argument("--page")
    parser.add_argument("--verbose", action="store_true")
    chosen = parser.parse_args()
    with open(chosen.config) as file:
        config = json.load(file)
    matrix = Matrix(config, chosen)
    matrix.run()
    cells = matrix.told
    ok, failed = sum(cell.startswith("ok") for cell in cells), sum(cell.startswith("fail") for cell in cells)
    print(f"hosts: {ok} cells ok, {len(cells) - ok - failed} by the hosts' limits, {failed} fail")
    if chosen.page:
        page.write(chosen.page, matrix.all_hosts, matrix.cells, features.FEATURES)
    sys.exit(matrix.bad != 0)


main()
