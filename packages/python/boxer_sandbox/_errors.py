"""What goes wrong. Errors of code in a sandbox are no exceptions, but data."""

from __future__ import annotations

from typing import Dict, Optional


class SandboxException(Exception):
    """Something was not done."""

    def __init__(self, message: str, name: str = "error") -> None:
        super().__init__(message)
        #: The stable name of what went wrong.
        self.name = name


class TimeoutException(SandboxException):
    """A command took too long, or the time of the sandbox is over."""


class NotFoundException(SandboxException):
    """There is no such sandbox, file, command or context."""


class InvalidArgumentException(SandboxException):
    """What was asked for makes no sense."""


class NotEnoughSpaceException(SandboxException):
    """The sandbox may write no more."""


class RefusedException(SandboxException):
    """The policy of the daemon does not allow it, or the token is wrong."""


class CommandExitException(SandboxException):
    """A command ended with another status than 0."""

    def __init__(self, stdout: str, stderr: str, exit_code: int, error: Optional[str]) -> None:
        super().__init__(f"Command exited with code {exit_code} and error:\n{stderr}", "exit")
        self.stdout = stdout
        self.stderr = stderr
        self.exit_code = exit_code
        self.error = error


_KINDS = {
    "not_found": NotFoundException,
    "invalid": InvalidArgumentException,
    "language": InvalidArgumentException,
    "storage_full": NotEnoughSpaceException,
    "refused": RefusedException,
    "unauthorized": RefusedException,
}


def of(error: Dict[str, str]) -> SandboxException:
    """The exception for an error of the daemon."""
    name, message = error.get("name", "error"), error.get("message", "")
    if name == "ended" and "time is over" in message:
        return TimeoutException(message, name)
    return _KINDS.get(name, SandboxException)(message, name)
