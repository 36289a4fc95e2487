"""What was seen on each host, a file for each, so that a run of all, which takes an hour, may be made in parts and by several at once."""

import json
from pathlib import Path


class Cells:
    """(host, form, box, feature) → what the cell says, and what was measured."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seen = {}
        for path in sorted(self.folder.glob("*.json")):
            self.seen |= {tuple(at): tuple(cell) for at, cell in json.loads(path.read_text())}

    def add(self, at, cell, measured):
        self.seen[at] = (cell, measured)

    def keep(self, host):
        """Writes what is known of a host."""
        path = self.folder / f"{host.replace(' ', '-')}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps([cell for cell in self.seen.items() if cell[0][0] == host], indent=0))
        partial.rename(path)

    def of(self, host, form):
        """(box, feature) → cell, measured."""
        return {(box, title): seen for (at, how, box, title), seen in self.seen.items() if (at, how) == (host, form) and box != "probe"}
