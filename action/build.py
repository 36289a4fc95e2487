"""Calls `boxer build` with the inputs of a GitHub Action.

BOXER_INPUTS holds them as a JSON object. Their names and their forms (lists by lines and commas, CSV quotes) are those of
docker/build-push-action. Any other name is an error, and what boxer cannot do it says itself.
"""

import csv
import json
import os
import pathlib
import secrets
import subprocess
import sys
import tempfile

# Inputs with one value, and their options.
VALUES = {
    "call": "--call",
    "cgroup-parent": "--cgroup-parent",
    "file": "--file",
    "network": "--network",
    "provenance": "--provenance",
    "sbom": "--sbom",
    "shm-size": "--shm-size",
    "target": "--target",
}

# Lists by lines; a comma belongs to the value.
LINES = {
    "annotations": "--annotation",
    "attests": "--attest",
    "build-args": "--build-arg",
    "build-contexts": "--build-context",
    "cache-from": "--cache-from",
    "cache-to": "--cache-to",
    "labels": "--label",
    "outputs": "--output",
    "ulimit": "--ulimit",
}

# Lists by lines and commas.
WORDS = {
    "add-hosts": "--add-host",
    "allow": "--allow",
    "no-cache-filters": "--no-cache-filter",
    "ssh": "--ssh",
    "tags": "--tag",
}

SWITCHES = {"load": "--load", "no-cache": "--no-cache", "pull": "--pull", "push": "--push"}

REFUSED = {
    "builder": "there is one builder, in boxer itself",
    "github-token": "a context in a repository is fetched with git's own credentials; use actions/checkout",
}

OTHERS = {"context", "platforms", "secrets", "secret-envs", "secret-files"}


class Refused(Exception):
    """What the user is told."""


def rows(text: str) -> list[list[str]]:
    """CSV as the action reads it: quotes may span lines, blanks around fields do not count."""
    return [[field.strip() for field in row] for row in csv.reader(text.splitlines(keepends=True), skipinitialspace=True)]


def lines(text: str) -> list[str]:
    """A list by lines: a field in quotes may hold line ends, and commas stay."""
    entries: list[str] = []
    for line in text.splitlines():
        # A quote that is open carries the entry on; a doubled one is a quote.
        if entries and entries[-1].count('"') % 2:
            entries[-1] += "\n" + line
        else:
            entries.append(line)
    stripped = (entry.strip() for entry in entries)
    return [unquoted(entry) for entry in stripped if entry]


def unquoted(entry: str) -> str:
    if len(entry) > 1 and entry[0] == entry[-1] == '"':
        return entry[1:-1].replace('""', '"')
    return entry


def words(text: str) -> list[str]:
    return [field for row in rows(text) for field in row if field]


def switch(name: str, text: str) -> bool:
    """YAML 1.2's booleans, as GitHub's toolkit takes them."""
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE", ""):
        return False
    raise Refused(f"input {name}: {text!r} is neither true nor false")


def pair(name: str, entry: str) -> tuple[str, str]:
    key, equals, value = entry.partition("=")
    if not (key and equals and value):
        raise Refused(f"input {name}: an entry is not ID=VALUE")
    return key, value


def arguments(inputs: dict[str, str], folder: pathlib.Path) -> list[str]:
    """The arguments of boxer; contents of secrets go to files in `folder`."""
    known = VALUES.keys() | LINES.keys() | WORDS.keys() | SWITCHES.keys() | REFUSED.keys() | OTHERS
    unknown = sorted(inputs.keys() - known)
    if unknown:
        raise Refused(f"unknown input{'s'[:len(unknown) - 1]}: {', '.join(unknown)}")
    given = {name: text for name, text in inputs.items() if text.strip()}
    for name in sorted(given.keys() & REFUSED.keys()):
        raise Refused(f"input {name}: {REFUSED[name]}")
    result = ["build"]
    for name, text in given.items():
        if name in VALUES:
            result.append(f"{VALUES[name]}={text.strip()}")
        elif name in LINES:
            result += [f"{LINES[name]}={entry}" for entry in lines(text)]
        elif name in WORDS:
            result += [f"{WORDS[name]}={entry}" for entry in words(text)]
        elif name in SWITCHES and switch(name, text.strip()):
            result.append(SWITCHES[name])
    if platforms := words(given.get("platforms", "")):
        result.append(f"--platform={','.join(platforms)}")
    for number, entry in enumerate(lines(given.get("secrets", ""))):
        key, value = pair("secrets", entry)
        path = folder / f"secret-{number}"
        path.touch(mode=0o600)
        path.write_text(value)
        result.append(f"--secret=id={key},src={path}")
    for key, value in (pair("secret-envs", entry) for entry in words(given.get("secret-envs", ""))):
        result.append(f"--secret=id={key},env={value}")
    for key, value in (pair("secret-files", entry) for entry in lines(given.get("secret-files", ""))):
        if not pathlib.Path(value).is_file():
            raise Refused(f"input secret-files: {value} is not a file")
        result.append(f"--secret=id={key},src={value}")
    return [*result, "--", given.get("context", ".").strip()]


def put(name: str, value: str) -> None:
    """Sets an output of the step."""
    end = f"end-{secrets.token_hex(16)}"
    with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as file:
        file.write(f"{name}<<{end}\n{value}\n{end}\n")


def main() -> int:
    inputs = json.loads(os.environ["BOXER_INPUTS"])
    with tempfile.TemporaryDirectory(dir=os.environ.get("RUNNER_TEMP")) as name:
        folder = pathlib.Path(name)
        try:
            call = arguments(inputs, folder)
        except Refused as error:
            print("::error::" + " ".join(str(error).splitlines()))
            return 2
        iid, metadata = folder / "iid", folder / "metadata"
        call[1:1] = [f"--iidfile={iid}", f"--metadata-file={metadata}"]
        status = subprocess.run(["boxer", *call], check=False).returncode
        if status:
            print(f"::error::boxer build ended with status {status}")
            return status if status > 0 else 1
        if iid.exists():
            put("imageid", iid.read_text().strip())
        if metadata.exists():
            text = metadata.read_text().strip()
            put("metadata", text)
            put("digest", json.loads(text).get("containerimage.digest", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
