"""Makes boxer_sandbox/_sync.py of _async.py, which says each verb once: ``python3 unasync.py [--check]``."""

import pathlib
import re
import sys

WORDS = {
    "async def": "def",
    "async for": "for",
    "await ": "",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__anext__": "__next__",
    "async with": "with",
    "_aio": "_client",
    "AsyncIterator": "Iterator",
    "AsyncSandbox": "BaseSandbox",
    "AsyncCommandHandle": "CommandHandle",
    "AsyncCommands": "Commands",
    "AsyncFilesystem": "Filesystem",
}


def made_of(source: str) -> str:
    """The same verbs, each of which waits."""
    head, rest = source.split("\n", 1)
    text = re.sub("|".join(map(re.escape, WORDS)), lambda found: WORDS[found.group()], rest)
    assert "async" not in text.lower() and "await" not in text, "a word is missing in the table"
    return '"""A sandbox. Made of ``_async.py`` by ``python3 unasync.py``; do not edit."""\n' + text


def main() -> None:
    folder = pathlib.Path(__file__).parent / "boxer_sandbox"
    text, target = made_of((folder / "_async.py").read_text()), folder / "_sync.py"
    if "--check" not in sys.argv:
        target.write_text(text)
    elif target.read_text() != text:
        sys.exit("boxer_sandbox/_sync.py is not what unasync.py makes of _async.py")


if __name__ == "__main__":
    main()
