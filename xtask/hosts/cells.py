"""What was seen on each host, a file for each, so that a run of all, which takes an hour, may be made in parts and by several at once."""

import json
import os
from pathlib import Path


def read(path):
    return {tuple(at): tuple(cell) for at, cell in json.loads(path.read_text())}


class Cells:
    """(host, form, box, feature) → what the cell says, and what was measured."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seen, self.added = {}, {}
        for path in self.folder.glob("*.json"):
            self.seen |= read(path)

    def add(self, at, cell, measured):
        self.seen[at] = self.added[at] = (cell, measured)

    def keep(self, host):
        """Adds what was seen of a host to what others may have written meanwhile."""
        path = self.folder / f"{host.replace(' ', '-')}.json"
        known = read(path) if path.exists() else {}
        known |= {at: seen for at, seen in self.added.items() if at[0] == host}
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(list(known.items()), indent=0))
        partial.rename(path)

    def of(self, host, form):
        """(box, feature) → cell, measured."""
        return {(box, title): seen for (at, how, box, title), seen in self.seen.items() if (at, how) == (host, form) and box != "probe"}
