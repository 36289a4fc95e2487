"""A sandbox. ``_sync.py`` is made of this file: ``python3 unasync.py``."""

from __future__ import annotations

from typing import IO, Any, AsyncIterator, Callable, Dict, Iterable, List, Literal, Optional, Type, TypeVar, Union, overload

from . import _aio, _errors
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
Self = TypeVar("Self", bound="AsyncSandbox")


class AsyncCommandHandle:
    """A command in the background."""

    def __init__(self, sandbox: "AsyncSandbox", pid: int) -> None:
        self._sandbox = sandbox
        self.pid = pid

    def _path(self, more: str = "") -> str:
        return self._sandbox._path(f"/commands/{self.pid}{more}")

    async def wait(
        self, on_stdout: Optional[Text] = None, on_stderr: Optional[Text] = None, timeout: Optional[float] = None
    ) -> CommandResult:
        """Waits until it has ended, and tells its output from its beginning."""
        events = await self._sandbox._connection.lines("GET", self._path(), {"timeout": timeout})
        return await _collect(events, on_stdout, on_stderr)

    async def kill(self) -> bool:
        """Kills it; whether it ran."""
        answer = await self._sandbox._connection.json("DELETE", self._path())
        return bool(answer["killed"])

    async def send_stdin(self, data: Union[str, bytes]) -> None:
        """Sends it input."""
        await self._sandbox.commands.send_stdin(self.pid, data)

    async def close_stdin(self) -> None:
        """No more input comes."""
        await self._sandbox._connection.call("DELETE", self._path("/stdin"))


async def _collect(events: AsyncIterator[Dict[str, Any]], on_stdout: Optional[Text], on_stderr: Optional[Text]) -> CommandResult:
    parts: Dict[str, List[str]] = {"stdout": [], "stderr": []}
    end: Optional[Dict[str, Any]] = None
    heard = {"stdout": on_stdout, "stderr": on_stderr}
    async for event in events:
        kind = event["type"]
        if kind in parts:
            parts[kind].append(event["text"])
            await _aio.tell(heard[kind], event["text"])
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


class AsyncCommands:
    """AsyncCommands in a sandbox."""

    def __init__(self, sandbox: "AsyncSandbox") -> None:
        self._sandbox = sandbox

    @overload
    async def run(
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
    async def run(
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
    ) -> AsyncCommandHandle: ...

    async def run(
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
    ) -> Union[CommandResult, AsyncCommandHandle]:
        """Runs a command line. In the foreground another status than 0 is a :class:`CommandExitException`."""
        request: Dict[str, Any] = {"command": cmd, "env": envs or {}, "user": user, "cwd": cwd, "stdin": stdin, "background": background}
        if instructions is not None:
            request["instructions"] = instructions
        if not background:
            request["timeout"] = timeout if timeout else 1e9
            events = await self._sandbox._connection.lines("POST", self._sandbox._path("/commands"), body=request)
            return await _collect(events, on_stdout, on_stderr)
        answer = await self._sandbox._connection.json("POST", self._sandbox._path("/commands"), body=request)
        return AsyncCommandHandle(self._sandbox, answer["pid"])

    async def list(self) -> List[ProcessInfo]:
        """Commands in the background, and those that have ended not long ago."""
        found = await self._sandbox._connection.json("GET", self._sandbox._path("/commands"))
        return [ProcessInfo(entry["pid"], entry["command"], entry["running"]) for entry in found]

    async def connect(self, pid: int) -> AsyncCommandHandle:
        """A command that was started before."""
        return AsyncCommandHandle(self._sandbox, pid)

    async def kill(self, pid: int) -> bool:
        """Kills a command; whether it ran."""
        try:
            return await AsyncCommandHandle(self._sandbox, pid).kill()
        except _errors.NotFoundException:
            return False

    async def send_stdin(self, pid: int, data: Union[str, bytes]) -> None:
        """Sends input to a command that was started with ``stdin=True``."""
        data = data.encode() if isinstance(data, str) else data
        await self._sandbox._connection.call("POST", self._sandbox._path(f"/commands/{pid}/stdin"), body=data)


class AsyncFilesystem:
    """Files of a sandbox."""

    def __init__(self, sandbox: "AsyncSandbox") -> None:
        self._sandbox = sandbox

    async def _json(self, method: str, more: str, body: Any = None, **query: Any) -> Any:
        return await self._sandbox._connection.json(method, self._sandbox._path(f"/files{more}"), query, body)

    @overload
    async def read(self, path: str, format: Literal["text"] = "text", user: Optional[str] = None) -> str: ...

    @overload
    async def read(self, path: str, format: Literal["bytes"], user: Optional[str] = None) -> bytearray: ...

    async def read(self, path: str, format: str = "text", user: Optional[str] = None) -> Union[str, bytearray]:
        """The content of a file, as text (UTF-8) or bytes."""
        data = await self._sandbox._connection.call("GET", self._sandbox._path("/files"), {"path": path, "user": user})
        return bytearray(data) if format == "bytes" else data.decode()

    async def write(self, path: str, data: Union[str, bytes, IO[Any]], user: Optional[str] = None) -> EntryInfo:
        """Writes a whole file; directories above it are made."""
        content = data if isinstance(data, (str, bytes, bytearray)) else data.read()
        content = content.encode() if isinstance(content, str) else bytes(content)
        return EntryInfo.of(await self._json("PUT", "", content, path=path, user=user))

    async def write_files(self, files: Iterable[Dict[str, Any]], user: Optional[str] = None) -> List[EntryInfo]:
        """Writes several: each a ``path`` and its ``data``."""
        return [await self.write(file["path"], file["data"], user) for file in files]

    async def list(self, path: str, depth: int = 1, user: Optional[str] = None) -> List[EntryInfo]:
        """What is in a directory, so many levels deep."""
        return [EntryInfo.of(entry) for entry in await self._json("GET", "/list", path=path, depth=depth, user=user)]

    async def exists(self, path: str, user: Optional[str] = None) -> bool:
        """Whether there is such a file."""
        try:
            await self.get_info(path, user)
        except _errors.NotFoundException:
            return False
        return True

    async def get_info(self, path: str, user: Optional[str] = None) -> EntryInfo:
        """What a file is; of a symbolic link, what it is itself."""
        return EntryInfo.of(await self._json("GET", "/info", path=path, user=user))

    async def remove(self, path: str, user: Optional[str] = None) -> None:
        """Removes a file, or a directory with all that is in it."""
        await self._json("DELETE", "", path=path, user=user)

    async def rename(self, old_path: str, new_path: str, user: Optional[str] = None) -> EntryInfo:
        """Gives a file another name."""
        return EntryInfo.of(await self._json("POST", "/rename", {"from": old_path, "to": new_path}, user=user))

    async def make_dir(self, path: str, user: Optional[str] = None) -> bool:
        """Makes a directory and those above it; whether it was not there."""
        answer = await self._json("POST", "/make_dir", path=path, user=user)
        return bool(answer["made"])

    async def watch_dir(self, path: str, recursive: bool = False, user: Optional[str] = None) -> AsyncIterator[FilesystemEvent]:
        """What happens in a directory from now on, until the iterator is closed or the sandbox ends."""
        query = {"path": path, "recursive": "true" if recursive else None, "user": user}
        lines = await self._sandbox._connection.lines("GET", self._sandbox._path("/files/watch"), query)
        # It watches when the first line is here.
        await lines.__anext__()
        kinds = ("start", "pulse")
        return (FilesystemEvent(line["name"], line["type"]) async for line in lines if line["type"] not in kinds)


class AsyncSandbox:
    """A sandbox; at the end of ``async with`` it is killed."""

    _connection: _aio.Connection
    sandbox_id: str
    commands: AsyncCommands
    files: AsyncFilesystem

    @classmethod
    async def create(
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
        await sandbox._make(template, timeout, metadata, envs, policy, snapshot, url, token)
        return sandbox

    async def _make(
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
        connection = await _aio.connect(url, token, template)
        asked = dict(policy or {})
        if timeout is not None:
            asked["timeout"] = timeout
        if envs:
            asked["env"] = envs
        request = {"policy": asked, "metadata": metadata or {}, "snapshot": snapshot}
        self._adopt(connection, await connection.json("POST", "/sandboxes", body=request))

    def _adopt(self, connection: _aio.Connection, found: Dict[str, Any]) -> None:
        self._connection = connection
        self.sandbox_id = str(found["id"])
        self.commands = AsyncCommands(self)
        self.files = AsyncFilesystem(self)

    @classmethod
    def _known(cls: Type[Self], connection: _aio.Connection, found: Dict[str, Any]) -> Self:
        sandbox = object.__new__(cls)
        sandbox._adopt(connection, found)
        return sandbox

    @classmethod
    async def connect(cls: Type[Self], sandbox_id: str, **options: Any) -> Self:
        """One that was made before; if it is paused it goes on."""
        connection = await _aio.connect(options.get("url"), options.get("token"), options.get("template"))
        found = await connection.json("GET", f"/sandboxes/{sandbox_id}")
        sandbox = cls._known(connection, found)
        if found["state"] == "paused":
            await sandbox.resume()
        return sandbox

    @classmethod
    async def list(cls, **options: Any) -> List[SandboxInfo]:
        """Those that have not been killed."""
        connection = await _aio.connect(options.get("url"), options.get("token"), options.get("template"))
        return [SandboxInfo.of(entry) for entry in await connection.json("GET", "/sandboxes")]

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.kill()

    def _path(self, more: str = "") -> str:
        return f"/sandboxes/{self.sandbox_id}{more}"

    async def run_code(
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
        async for event in await self._connection.lines("POST", self._path("/code"), body=request):
            kind = event["type"]
            if kind == "stdout":
                execution.logs.stdout.append(event["text"])
                await _aio.tell(on_stdout, event["text"])
            elif kind == "stderr":
                execution.logs.stderr.append(event["text"])
                await _aio.tell(on_stderr, event["text"])
            elif kind == "result":
                result = Result(event["data"], event["main"])
                execution.results.append(result)
                await _aio.tell(on_result, result)
            elif kind == "error":
                execution.error = ExecutionError(event["name"], event["value"], event["traceback"])
                await _aio.tell(on_error, execution.error)
            elif kind == "end":
                execution.execution_count = event["execution_count"]
                execution.limit = event["limit"]
                execution.instructions = event["instructions"]
                ended = True
        if not ended:
            raise _errors.SandboxException("the daemon broke off")
        return execution

    async def create_code_context(self, language: str = "python") -> Context:
        """An interpreter with variables of its own."""
        answer = await self._connection.json("POST", self._path("/contexts"), body={"language": language})
        return Context(answer["context"], language)

    async def interrupt(self, context: Optional[Context] = None) -> bool:
        """Stops what runs, as Ctrl-C does; whether anything ran."""
        query = {"context": context.id if context else None}
        answer = await self._connection.json("POST", self._path("/interrupt"), query)
        return bool(answer["interrupted"])

    async def get_info(self) -> SandboxInfo:
        """What is known of it."""
        return SandboxInfo.of(await self._connection.json("GET", self._path()))

    async def is_running(self) -> bool:
        """Whether it runs."""
        try:
            info = await self.get_info()
        except _errors.NotFoundException:
            return False
        return info.state == "running"

    async def set_timeout(self, timeout: float) -> None:
        """It ends so many seconds from now."""
        await self._connection.call("POST", self._path("/timeout"), body={"timeout": timeout})

    async def kill(self) -> bool:
        """Ends it; whether it had not ended yet."""
        try:
            answer = await self._connection.json("DELETE", self._path())
        except _errors.NotFoundException:
            return False
        return bool(answer["killed"])

    async def pause(self) -> None:
        """Lets it stand still; ``resume`` or ``AsyncSandbox.connect`` lets it go on."""
        await self._connection.call("POST", self._path("/pause"))

    async def resume(self) -> None:
        """Lets it go on."""
        await self._connection.call("POST", self._path("/resume"))

    async def fork(self: Self, count: int = 1) -> List[Self]:
        """Copies of it, which go on from where it is."""
        found = await self._connection.json("POST", self._path("/fork"), body={"count": count})
        return [self._known(self._connection, entry) for entry in found]

    async def snapshot(self) -> str:
        """Keeps its state under a name, for ``AsyncSandbox(snapshot=…)``, as long as the daemon runs."""
        answer = await self._connection.json("POST", self._path("/snapshot"))
        return str(answer["snapshot"])

    async def diff(self) -> List[Difference]:
        """What is different in its files since it started."""
        found = await self._connection.json("GET", self._path("/diff"))
        return [Difference(**{**entry, "type": FileType(entry["type"])}) for entry in found]

    async def export(
        self, path: str, what: Literal["changes", "all"] = "changes", format: Literal["tar", "layer"] = "tar"
    ) -> Exported:
        """Writes its files to a local file: a tar archive, or a layer of an OCI image (tar and gzip, with whiteouts for what was removed)."""
        headers = await self._connection.download(self._path("/export"), {"what": what, "format": format}, path)
        return Exported(
            path=path,
            digest=headers["boxer-digest"],
            diff_id=headers["boxer-diff-id"],
            size=int(headers["content-length"]),
            media_type=headers["content-type"],
            entries=int(headers["boxer-entries"]),
        )

    async def usage(self) -> Usage:
        """What it uses, and has used since it was made."""
        return Usage(**await self._connection.json("GET", self._path("/usage")))

    async def audit(self) -> str:
        """Its audit trail, lines of JSON."""
        data = await self._connection.call("GET", self._path("/audit"))
        return data.decode()

    async def list_ports(self) -> List[int]:
        """TCP ports at which servers listen in it."""
        return [int(port) for port in await self._connection.json("GET", self._path("/ports"))]

    async def get_url(self, port: int) -> str:
        """Where a port of it is reached from this machine."""
        answer = await self._connection.json("POST", self._path(f"/ports/{port}"))
        return str(answer["url"])

    async def get_host(self, port: int) -> str:
        """The same without the scheme."""
        url = await self.get_url(port)
        return url.split("://", 1)[1]
