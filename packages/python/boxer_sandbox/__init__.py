"""Sandboxes for code that nobody has read: the client of ``boxer sandboxd``.

Names and behaviour are those of E2B's SDK, as far as a sandbox on this machine has them.
"""

from ._async import AsyncCommandHandle, AsyncCommands, AsyncFilesystem, AsyncSandbox
from ._client import Connection
from ._errors import (
    CommandExitException,
    InvalidArgumentException,
    NotEnoughSpaceException,
    NotFoundException,
    RefusedException,
    SandboxException,
    TimeoutException,
)
from ._models import (
    CommandResult,
    Context,
    Difference,
    EntryInfo,
    Execution,
    ExecutionError,
    Exported,
    FilesystemEvent,
    FileType,
    Logs,
    ProcessInfo,
    Result,
    SandboxInfo,
    Usage,
)
from ._sandbox import Sandbox
from ._sync import CommandHandle, Commands, Filesystem

__all__ = [
    "AsyncCommandHandle",
    "AsyncCommands",
    "AsyncFilesystem",
    "AsyncSandbox",
    "CommandExitException",
    "CommandHandle",
    "CommandResult",
    "Commands",
    "Connection",
    "Context",
    "Difference",
    "EntryInfo",
    "Execution",
    "ExecutionError",
    "Exported",
    "FileType",
    "Filesystem",
    "FilesystemEvent",
    "InvalidArgumentException",
    "Logs",
    "NotEnoughSpaceException",
    "NotFoundException",
    "ProcessInfo",
    "RefusedException",
    "Result",
    "Sandbox",
    "SandboxException",
    "SandboxInfo",
    "TimeoutException",
    "Usage",
]
