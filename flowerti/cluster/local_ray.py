"""Starts Ray on this machine and ends it with all of its processes; keeps its token to its owner.

Ray replaces handlers of signals when it starts, leaves agents behind that notice minutes later that nobody needs them,
and writes its token so that all users of the machine can read it. This module does not know what runs on it.
"""

import contextlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from flowerti import stopping
from flowerti.cluster.quiet import stderr_kept_back

_END_BY_ITSELF_S = 1.0
_KILLED_WITHIN_S = 1.0
_NUM_STARTS = 3
"""Tries; Ray waits half a minute for its own processes."""


class LocalProcesses:
    """The processes that were started while Ray was, and those that they start."""

    def __init__(self) -> None:
        """Remember which there are already."""
        self._before = {child.pid for child in psutil.Process().children()}
        self._roots: list[psutil.Process] | None = None
        self._seen: dict[int, psutil.Process] = {}

    def all_started(self) -> None:
        """What this process starts from now on is not Ray's."""
        self._roots = self._new_children()

    def look(self) -> None:
        """Remember those that there are now: what has lost its parent is not found later."""
        for root in self._new_children() if self._roots is None else self._roots:
            self._seen[root.pid] = root
            with contextlib.suppress(psutil.NoSuchProcess):
                self._seen |= {process.pid: process for process in root.children(recursive=True)}

    def end(self, by_itself_s: float = 0.0) -> None:
        """Kill those that do not end by themselves, and wait for them."""
        self.look()
        _, alive = psutil.wait_procs(list(self._seen.values()), timeout=by_itself_s)
        for process in alive:
            # an id that another process has since is noticed by psutil, which then kills nothing
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=_KILLED_WITHIN_S)

    def _new_children(self) -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child.pid not in self._before]


@dataclass(slots=True)
class _Session:
    """The Ray that this process started."""

    processes: LocalProcesses
    undo: contextlib.ExitStack


_sessions: list[_Session] = []
"""At most one."""


def start_local_ray(**options: Any) -> None:
    """Start Ray on this machine; `end_local_ray`, or a forced end of this process, ends it.

    Args:
        options: those of `ray.init`.

    Raises:
        OSError: it did not start, not even when it was tried again; a busy machine may be slower than Ray's patience.
    """
    protect_token()
    for num_tries in range(1, _NUM_STARTS + 1):
        try:
            return _start(options)
        except ValueError:
            raise
        except Exception as error:
            if num_tries == _NUM_STARTS:
                logs = Path(tempfile.gettempdir()) / "ray" / "session_latest" / "logs"
                raise OSError(
                    f"Ray did not start on this machine in {_NUM_STARTS} tries: end other programs and start the same "
                    f"command again, or look into {logs} ({error})"
                ) from error


def _start(options: dict[str, Any]) -> None:
    import ray

    session = _Session(LocalProcesses(), contextlib.ExitStack())
    session.undo.enter_context(stopping.at_forced_end(session.processes.end))
    _sessions.append(session)
    try:
        with stopping.handlers_kept(), stderr_kept_back():
            ray.init(address="local", include_dashboard=False, **options)
    except BaseException:
        _sessions.remove(session)
        with session.undo:
            session.processes.end()
        raise
    session.processes.all_started()


def end_local_ray() -> None:
    """Disconnect from Ray, and end all processes of a Ray that this process started."""
    import ray

    for session in _sessions:
        session.processes.look()  # while they have their parents
    ray.shutdown()
    while _sessions:
        session = _sessions.pop()
        with session.undo:
            session.processes.end(_END_BY_ITSELF_S)


def protect_token() -> None:
    """Keep Ray's token to its owner: made here where it is missing, because Ray lets everyone read it."""
    is_elsewhere = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if is_elsewhere or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    path = Path.home() / ".ray" / "auth_token"
    # where the folder cannot be written Ray says so itself
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            return
        with open(number, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
