"""A sandbox. Made of ``_async.py`` by ``python3 unasync.py``; do not edit."""

from __future__ import annotations

from typing import IO, Any, Iterator, Callable, Dict, Iterable, List, Literal, Optional, Type, TypeVar, Union, overload

from . import _client, _errors
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
    ProcessInfo,
    Result,
    SandboxInfo,
    Usage,
)

Text = Callable[[str], Any]
Self = TypeVar("Self", bound="BaseSandbox")


class CommandHandle:
    """A command in the background."""

    def __init__(self, sandbox: "BaseSandbox", pid: int) -> None:
        self._sandbox = sandbox
        self.pid = pid

    def _path(self, more: str = "") -> str:
        return self._sandbox._path(f"/commands/{self.pid}{more}")

    def wait(
        self, on_stdout: Optional[Text] = None, on_stderr: Optional[Text] = None, timeout: Optional[float] = None
    ) -> CommandResult:
        """Waits until it has ended, and tells its output from its beginning."""
        events = self._sandbox._connection.lines("GET", self._path(), {"timeout": timeout})
        return _collect(events, on_stdout, on_stderr)

    def kill(self) -> bool:
        """Kills it; whether it ran."""
        answer = self._sandbox._connection.json("DELETE", self._path())
        return bool(answer["killed"])

    def send_stdin(self, data: Union[str, bytes]) -> None:
        """Sends it input."""
        self._sandbox.commands.send_stdin(self.pid, data)

    def close_stdin(self) -> None:
        """No more input comes."""
        self._sandbox._connection.call("DELETE", self._path("/stdin"))


def _collect(events: Iterator[Dict[str, Any]], on_stdout: Optional[Text], on_stderr: Optional[Text]) -> CommandResult:
    parts: Dict[str, List[str]] = {"stdout": [], "stderr": []}
    end: Optional[Dict[str, Any]] = None
    heard = {"stdout": on_stdout, "stderr": on_stderr}
    for event in events:
        kind = event["type"]
        if kind in parts:
            parts[kind].append(event["text"])
            _client.tell(heard[kind], event["text"])
        elif kind == "end":
            end = event
    if end is None:
        raise _errors.SandboxException("the daemon broke off")
    stdout, stderr = "".join(parts["stdout"]), "".join(parts["stderr"])
    result = CommandResult(stdout, stderr, end["exit_code"], end["limit"], end["instructions"])
    if result.error == "time":
        raise _errors.TimeoutException("the command took too long, and was killed", "time")
    if result.exit_code != 0:
        raise _errors.CommandExitException(stdout, stderr, result.exit_code, result.error)
    return result


class Commands:
    """Commands in a sandbox."""

    def __init__(self, sandbox: "BaseSandbox") -> None:
        self._sandbox = sandbox

    @overload
    def run(
        self,
        cmd: str,
        background: Literal[False] = False,
        envs: Optional[Dict[str, str]] = None,
        user: Optional[str] = None,
        cwd: Optional[str] = None,
        on_stdout: Optional[Text] = None,
        on_stderr: Optional[Text] = None,
        stdin: bool = False,
        timeout: Optional[float] = 60,
        instructions: Optional[int] = None,
    ) -> CommandResult: ...

    @overload
    def run(
        self,
        cmd: str,
        background: Literal[True],
        envs: Optional[Dict[str, str]] = None,
        user: Optional[str] = None,
        cwd: Optional[str] = None,
        on_stdout: Optional[Text] = None,
        on_stderr: Optional[Text] = None,
        stdin: bool = False,
        timeout: Optional[float] = 60,
        instructions: Optional[int] = None,
    ) -> CommandHandle: ...

    def run(
        self,
        cmd: str,
        background: bool = False,
        envs: Optional[Dict[str, str]] = None,
        user: Optional[str] = None,
        cwd: Optional[str] = None,
        on_stdout: Optional[Text] = None,
        on_stderr: Optional[Text] = None,
        stdin: bool = False,
        timeout: Optional[float] = 60,
        instructions: Optional[int] = None,
    ) -> Union[CommandResult, CommandHandle]:
        """Runs a command line. In the foreground another status than 0 is a :class:`CommandExitException`."""
        request: Dict[str, Any] = {"command": cmd, "env": envs or {}, "user": user, "cwd": cwd, "stdin": stdin, "background": background}
        if instructions is not None:
            request["instructions"] = instructions
        if not background:
            request["timeout"] = timeout if timeout else 1e9
            events = self._sandbox._connection.lines("POST", self._sandbox._path("/commands"), body=request)
            return _collect(events, on_stdout, on_stderr)
        answer = self._sandbox._connection.json("POST", self._sandbox._path("/commands"), body=request)
        return CommandHandle(self._sandbox, answer["pid"])

    def list(self) -> List[ProcessInfo]:
        """Commands in the background, and those that have ended not long ago."""
        found = self._sandbox._connection.json("GET", self._sandbox._path("/commands"))
        return [ProcessInfo(entry["pid"], entry["command"], entry["running"]) for entry in found]

    def connect(self, pid: int) -> CommandHandle:
        """A command that was started before."""
        return CommandHandle(self._sandbox, pid)

    def kill(self, pid: int) -> bool:
        """Kills a command; whether it ran."""
        try:
            return CommandHandle(self._sandbox, pid).kill()
        except _errors.NotFoundException:
            return False

    def send_stdin(self, pid: int, data: Union[str, bytes]) -> None:
        """Sends input to a command that was started with ``stdin=True``."""
        data = data.encode() if isinstance(data, str) else data
        self._sandbox._connection.call("POST", self._sandbox._path(f"/commands/{pid}/stdin"), body=data)


class Filesystem:
    """Files of a sandbox."""

    def __init__(self, sandbox: "BaseSandbox") -> None:
        self._sandbox = sandbox

    def _json(self, method: str, more: str, body: Any = None, **query: Any) -> Any:
        return self._sandbox._connection.json(method, self._sandbox._path(f"/files{more}"), query, body)

    @overload
    def read(self, path: str, format: Literal["text"] = "text", user: Optional[str] = None) -> str: ...

    @overload
    def read(self, path: str, format: Literal["bytes"], user: Optional[str] = None) -> bytearray: ...

    def read(self, path: str, format: str = "text", user: Optional[str] = None) -> Union[str, bytearray]:
        """The content of a file, as text (UTF-8) or bytes."""
        data = self._sandbox._connection.call("GET", self._sandbox._path("/files"), {"path": path, "user": user})
        return bytearray(data) if format == "bytes" else data.decode()

    def write(self, path: str, data: Union[str, bytes, IO[Any]], user: Optional[str] = None) -> EntryInfo:
        """Writes a whole file; directories above it are made."""
        content = data if isinstance(data, (str, bytes, bytearray)) else data.read()
        content = content.encode() if isinstance(content, str) else bytes(content)
        return EntryInfo.of(self._json("PUT", "", content, path=path, user=user))

    def write_files(self, files: Iterable[Dict[str, Any]], user: Optional[str] = None) -> List[EntryInfo]:
        """Writes several: each a ``path`` and its ``data``."""
        return [self.write(file["path"], file["data"], user) for file in files]

    def list(self, path: str, depth: int = 1, user: Optional[str] = None) -> List[EntryInfo]:
        """What is in a directory, so many levels deep."""
        return [EntryInfo.of(entry) for entry in self._json("GET", "/list", path=path, depth=depth, user=user)]

    def exists(self, path: str, user: Optional[str] = None) -> bool:
        """Whether there is such a file."""
        try:
            self.get_info(path, user)
        except _errors.NotFoundException:
            return False
        return True

    def get_info(self, path: str, user: Optional[str] = None) -> EntryInfo:
        """What a file is; of a symbolic link, what it is itself."""
        return EntryInfo.of(self._json("GET", "/info", path=path, user=user))

    def remove(self, path: str, user: Optional[str] = None) -> None:
        """Removes a file, or a directory with all that is in it."""
        self._json("DELETE", "", path=path, user=user)

    def rename(self, old_path: str, new_path: str, user: Optional[str] = None) -> EntryInfo:
        """Gives a file another name."""
        return EntryInfo.of(self._json("POST", "/rename", {"from": old_path, "to": new_path}, user=user))

    def make_dir(self, path: str, user: Optional[str] = None) -> bool:
        """Makes a directory and those above it; whether it was not there."""
        answer = self._json("POST", "/make_dir", path=path, user=user)
        return bool(answer["made"])

    def watch_dir(self, path: str, recursive: bool = False, user: Optional[str] = None) -> Iterator[FilesystemEvent]:
        """What happens in a directory from now on, until the iterator is closed or the sandbox ends."""
        query = {"path": path, "recursive": "true" if recursive else None, "user": user}
        lines = self._sandbox._connection.lines("GET", self._sandbox._path("/files/watch"), query)
        # It watches when the first line is here.
        lines.__next__()
        kinds = ("start", "pulse")
        return (FilesystemEvent(line["name"], line["type"]) for line in lines if line["type"] not in kinds)


class BaseSandbox:
    """A sandbox; at the end of ``with`` it is killed."""

    _connection: _client.Connection
    sandbox_id: str
    commands: Commands
    files: Filesystem

    @classmethod
    def create(
        cls: Type[Self],
        template: Optional[str] = None,
        timeout: Optional[float] = None,
        metadata: Optional[Dict[str, str]] = None,
        envs: Optional[Dict[str, str]] = None,
        *,
        policy: Optional[Dict[str, Any]] = None,
        snapshot: Optional[str] = None,
        url: Optional[str] = None,
        token: Optional[str] = None,
    ) -> Self:
        """Makes one, of the box ``template``."""
        sandbox = object.__new__(cls)
        sandbox._make(template, timeout, metadata, envs, policy, snapshot, url, token)
        return sandbox

    def _make(
        self,
        template: Optional[str],
        timeout: Optional[float],
        metadata: Optional[Dict[str, str]],
        envs: Optional[Dict[str, str]],
        policy: Optional[Dict[str, Any]],
        snapshot: Optional[str],
        url: Optional[str],
        token: Optional[str],
    ) -> None:
        connection = _client.connect(url, token, template)
        asked = dict(policy or {})
        if timeout is not None:
            asked["timeout"] = timeout
        if envs:
            asked["env"] = envs
        request = {"policy": asked, "metadata": metadata or {}, "snapshot": snapshot}
        self._adopt(connection, connection.json("POST", "/sandboxes", body=request))

    def _adopt(self, connection: _client.Connection, found: Dict[str, Any]) -> None:
        self._connection = connection
        self.sandbox_id = str(found["id"])
        self.commands = Commands(self)
        self.files = Filesystem(self)

    @classmethod
    def _known(cls: Type[Self], connection: _client.Connection, found: Dict[str, Any]) -> Self:
        sandbox = object.__new__(cls)
        sandbox._adopt(connection, found)
        return sandbox

    @classmethod
    def connect(cls: Type[Self], sandbox_id: str, **options: Any) -> Self:
        """One that was made before; if it is paused it goes on."""
        connection = _client.connect(options.get("url"), options.get("token"), options.get("template"))
        found = connection.json("GET", f"/sandboxes/{sandbox_id}")
        sandbox = cls._known(connection, found)
        if found["state"] == "paused":
            sandbox.resume()
        return sandbox

    @classmethod
    def list(cls, **options: Any) -> List[SandboxInfo]:
        """Those that have not been killed."""
        connection = _client.connect(options.get("url"), options.get("token"), options.get("template"))
        return [SandboxInfo.of(entry) for entry in connection.json("GET", "/sandboxes")]

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()

    def _path(self, more: str = "") -> str:
        return f"/sandboxes/{self.sandbox_id}{more}"

    def run_code(
        self,
        code: str,
        language: Optional[str] = None,
        context: Optional[Context] = None,
        on_stdout: Optional[Text] = None,
        on_stderr: Optional[Text] = None,
        on_result: Optional[Callable[[Result], Any]] = None,
        on_error: Optional[Callable[[ExecutionError], Any]] = None,
        envs: Optional[Dict[str, str]] = None,
        cwd: Optional[str] = None,
        timeout: Optional[float] = None,
        instructions: Optional[int] = None,
    ) -> Execution:
        """Runs code where variables live on from call to call. Its errors are in the answer."""
        request = {
            "code": code,
            "language": language or (context.language if context else None),
            "context": context.id if context else None,
            "env": envs or {},
            "cwd": cwd,
            "timeout": timeout,
            "instructions": instructions,
        }
        execution, ended = Execution(), False
        for event in self._connection.lines("POST", self._path("/code"), body=request):
            kind = event["type"]
            if kind == "stdout":
                execution.logs.stdout.append(event["text"])
                _client.tell(on_stdout, event["text"])
            elif kind == "stderr":
                execution.logs.stderr.append(event["text"])
                _client.tell(on_stderr, event["text"])
            elif kind == "result":
                result = Result(event["data"], event["main"])
                execution.results.append(result)
                _client.tell(on_result, result)
            elif kind == "error":
                execution.error = ExecutionError(event["name"], event["value"], event["traceback"])
                _client.tell(on_error, execution.error)
            elif kind == "end":
                execution.execution_count = event["execution_count"]
                execution.limit = event["limit"]
                execution.instructions = event["instructions"]
                ended = True
        if not ended:
            raise _errors.SandboxException("the daemon broke off")
        return execution

    def create_code_context(self, language: str = "python") -> Context:
        """An interpreter with variables of its own."""
        answer = self._connection.json("POST", self._path("/contexts"), body={"language": language})
        return Context(answer["context"], language)

    def interrupt(self, context: Optional[Context] = None) -> bool:
        """Stops what runs, as Ctrl-C does; whether anything ran."""
        query = {"context": context.id if context else None}
        answer = self._connection.json("POST", self._path("/interrupt"), query)
        return bool(answer["interrupted"])

    def get_info(self) -> SandboxInfo:
        """What is known of it."""
        return SandboxInfo.of(self._connection.json("GET", self._path()))

    def is_running(self) -> bool:
        """Whether it runs."""
        try:
            info = self.get_info()
        except _errors.NotFoundException:
            return False
        return info.state == "running"

    def set_timeout(self, timeout: float) -> None:
        """It ends so many seconds from now."""
        self._connection.call("POST", self._path("/timeout"), body={"timeout": timeout})

    def kill(self) -> bool:
        """Ends it; whether it had not ended yet."""
        try:
            answer = self._connection.json("DELETE", self._path())
        except _errors.NotFoundException:
            return False
        return bool(answer["killed"])

    def pause(self) -> None:
        """Lets it stand still; ``resume`` or ``BaseSandbox.connect`` lets it go on."""
        self._connection.call("POST", self._path("/pause"))

    def resume(self) -> None:
        """Lets it go on."""
        self._connection.call("POST", self._path("/resume"))

    def fork(self: Self, count: int = 1) -> List[Self]:
        """Copies of it, which go on from where it is."""
        found = self._connection.json("POST", self._path("/fork"), body={"count": count})
        return [self._known(self._connection, entry) for entry in found]

    def snapshot(self) -> str:
        """Keeps its state under a name, for ``BaseSandbox(snapshot=…)``, as long as the daemon runs."""
        answer = self._connection.json("POST", self._path("/snapshot"))
        return str(answer["snapshot"])

    def diff(self) -> List[Difference]:
        """What is different in its files since it started."""
        found = self._connection.json("GET", self._path("/diff"))
        return [Difference(**{**entry, "type": FileType(entry["type"])}) for entry in found]

    def export(
        self, path: str, what: Literal["changes", "all"] = "changes", format: Literal["tar", "layer"] = "tar"
    ) -> Exported:
        """Writes its files to a local file: a tar archive, or a layer of an OCI image (tar and gzip, with whiteouts for what was removed)."""
        headers = self._connection.download(self._path("/export"), {"what": what, "format": format}, path)
        return Exported(
            path=path,
            digest=headers["boxer-digest"],
            diff_id=headers["boxer-diff-id"],
            size=int(headers["content-length"]),
            media_type=headers["content-type"],
            entries=int(headers["boxer-entries"]),
        )

    def usage(self) -> Usage:
        """What it uses, and has used since it was made."""
        return Usage(**self._connection.json("GET", self._path("/usage")))

    def audit(self) -> str:
        """Its audit trail, lines of JSON."""
        data = self._connection.call("GET", self._path("/audit"))
        return data.decode()

    def list_ports(self) -> List[int]:
        """TCP ports at which servers listen in it."""
        return [int(port) for port in self._connection.json("GET", self._path("/ports"))]

    def get_url(self, port: int) -> str:
        """Where a port of it is reached from this machine."""
        answer = self._connection.json("POST", self._path(f"/ports/{port}"))
        return str(answer["url"])

    def get_host(self, port: int) -> str:
        """The same without the scheme."""
        url = self.get_url(port)
        return url.split("://", 1)[1]
