"""What comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, List, Optional


@dataclass
class ExecutionError:
    """An error of code in a sandbox."""

    name: str
    value: str
    traceback: str


@dataclass
class Result:
    """A value, or something that was shown."""

    #: By MIME type; pictures are in base64.
    data: Dict[str, Any]
    is_main_result: bool = False

    @property
    def text(self) -> Optional[str]:
        return self.data.get("text/plain")

    @property
    def html(self) -> Optional[str]:
        return self.data.get("text/html")

    @property
    def markdown(self) -> Optional[str]:
        return self.data.get("text/markdown")

    @property
    def svg(self) -> Optional[str]:
        return self.data.get("image/svg+xml")

    @property
    def png(self) -> Optional[str]:
        return self.data.get("image/png")

    @property
    def jpeg(self) -> Optional[str]:
        return self.data.get("image/jpeg")

    @property
    def latex(self) -> Optional[str]:
        return self.data.get("text/latex")

    @property
    def json(self) -> Any:
        return self.data.get("application/json")

    def formats(self) -> List[str]:
        """The MIME types that there are."""
        return list(self.data)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Dict[str, Any]:
        return self.data


@dataclass
class Logs:
    """What code has printed, in pieces."""

    stdout: List[str] = field(default_factory=list)
    stderr: List[str] = field(default_factory=list)


@dataclass
class Execution:
    """What came of running code."""

    results: List[Result] = field(default_factory=list)
    logs: Logs = field(default_factory=Logs)
    error: Optional[ExecutionError] = None
    execution_count: Optional[int] = None
    #: ``time``, ``output`` or ``instructions``, if the code was stopped for that.
    limit: Optional[str] = None
    #: Instructions that were executed for it, if they had a limit.
    instructions: Optional[int] = None

    @property
    def text(self) -> Optional[str]:
        """The text of the last expression's value."""
        return next((result.text for result in self.results if result.is_main_result), None)

    def to_json(self) -> str:
        return json.dumps(
            {
                "results": [{**r.data, "is_main_result": r.is_main_result} for r in self.results],
                "logs": self.logs.__dict__,
                "error": self.error.__dict__ if self.error else None,
            }
        )


@dataclass
class CommandResult:
    """How a command has ended."""

    stdout: str
    stderr: str
    exit_code: int
    #: ``output`` or ``instructions``, if it was killed for that.
    error: Optional[str] = None
    #: Instructions that it has executed, if they had a limit.
    instructions: Optional[int] = None


@dataclass
class ProcessInfo:
    """A command that was started."""

    pid: int
    cmd: str
    running: bool


@dataclass
class Context:
    """An interpreter with variables of its own."""

    id: str
    language: str


class FileType(str, Enum):
    """What a file is."""

    FILE = "file"
    DIR = "dir"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass
class EntryInfo:
    """A file or directory."""

    name: str
    path: str
    type: FileType
    size: int
    mode: int
    uid: int
    gid: int
    modified_time: float
    symlink_target: Optional[str] = None

    @classmethod
    def of(cls, fields: Dict[str, Any]) -> "EntryInfo":
        return cls(**{**fields, "type": FileType(fields["type"])})


@dataclass
class FilesystemEvent:
    """What happened to a file: ``create``, ``write``, ``remove``, ``rename``, ``chmod``, ``overflow``."""

    name: str
    type: str


@dataclass
class Difference:
    """A file that was ``added``, ``changed`` or ``removed``."""

    path: str
    change: str
    type: FileType
    size: int


@dataclass
class Usage:
    """What a sandbox uses, and has used since it was made."""

    #: Instructions that its programs have executed.
    instructions: int
    #: Seconds of processor time.
    cpu_time: float
    #: Bytes of memory of its programs, now.
    memory: int
    #: Bytes of files that were written.
    storage: int
    #: Processes and threads.
    processes: int
    open_files: int
    #: Bytes exchanged with the network.
    network_bytes: int


@dataclass
class Exported:
    """An archive of the files of a sandbox."""

    path: str
    #: Digest of its bytes, ``sha256:…``.
    digest: str
    #: Digest of the uncompressed archive, as the configuration of an image has it.
    diff_id: str
    #: Bytes.
    size: int
    media_type: str
    #: With 0 nothing has changed.
    entries: int


@dataclass
class SandboxInfo:
    """What is known of a sandbox."""

    sandbox_id: str
    #: ``running``, ``paused`` or ``ended``.
    state: str
    reason: Optional[str]
    started_at: float
    time_left: float
    metadata: Dict[str, str]
    policy: Dict[str, Any]

    @classmethod
    def of(cls, fields: Dict[str, Any]) -> "SandboxInfo":
        fields = dict(fields)
        return cls(sandbox_id=fields.pop("id"), **fields)
