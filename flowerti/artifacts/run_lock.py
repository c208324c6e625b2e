"""Keeps two runs on one directory apart, on local disks and object stores alike, which only write, list and delete.

A run writes a file of its own, `lock/<token>.json`, and then looks for others: of two that ask at once at least one
sees the other, so that both never hold the directory, however slow either is. The holder writes its file again every
`REFRESH_EVERY_S`; a file that was not written for `DEAD_AFTER_S` by the store's own clock is a dead owner's, and so is
one of a process of this machine that is gone. This module does not know what a run does.
"""

import dataclasses
import datetime
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from flowerti import stopping
from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory

REFRESH_EVERY_S = 15.0
DEAD_AFTER_S = 120.0
_REFRESHED_WITHIN_S = 1.0
_NUM_TRIES = 5
_SAME_START_S = 5.0
"""Two readings of a process's start differ by less; a process id is not given again so soon."""


class TakenOver(Exception):
    """Another run took the directory while this one was at work in it."""

    outlasts_stop = True
    """Told even where the run was ended by a signal: it is what sent the signal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who wrote a file of the lock."""

    token: str
    host: str
    machine: str
    """Tells machines, their starts and containers of one host name apart."""
    pid: int
    process_started_s: float
    """Seconds since the epoch, by its machine's clock."""
    started: str
    """When the run began, UTC."""
    is_holder: bool = False
    """False while it asks."""
    took_over: tuple[str, ...] = ()
    """Tokens of those whose files it deleted."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A file of the lock, as found."""

    owner: Owner
    age_s: float
    """Since it was written, compared with the newest file of the lock, so by one clock."""

    def __str__(self) -> str:
        """Who it is, for a person."""
        owner = self.owner
        return f"process {owner.pid} on {owner.host}, since {owner.started}"


def this_process() -> Owner:
    """This process as an owner, with a new token."""
    import psutil

    return Owner(
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        process_started_s=psutil.Process().create_time(),
        started=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def _machine() -> str:
    """The start of this machine and the container; the host's name alone where the system does not tell them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def claims_in(run: RunDirectory, now_s: float = 0.0) -> list[Claim]:
    """All files of the lock; none where nobody is at work in the directory.

    Args:
        run: the directory.
        now_s: what ages are counted from where it is later than the newest file: for one who wrote none, whose clock
            may not be the store's.
    """
    import dacite
    from pyarrow.fs import FileSelector, FileType

    folder = FileSelector(run.path(layout.LOCK), allow_not_found=True)
    infos = [info for info in run.filesystem.get_file_info(folder) if info.type == FileType.File]
    infos = [info for info in infos if info.base_name.endswith(".json") and not info.base_name.startswith(".")]
    newest_ns = max((info.mtime_ns or 0 for info in infos), default=0)
    newest_ns = max(newest_ns, int(now_s * 1e9))
    found = []
    for info in infos:
        name = layout.claim(info.base_name.removesuffix(".json"))
        age_s = (newest_ns - (info.mtime_ns or newest_ns)) / 1e9
        try:
            owner = dacite.from_dict(Owner, run.read_json(name), dacite.Config(cast=[tuple]))
        except FileNotFoundError:
            continue  # it has just been given up
        except (ValueError, TypeError, dacite.DaciteError):
            # nobody's that can be asked: it counts until it is old
            owner = replace(_NOBODY, token=info.base_name.removesuffix(".json"))
        found.append(Claim(owner, age_s))
    return found


_NOBODY = Owner(
    token="", host="an unknown host", machine="", pid=0, process_started_s=0.0, started="unknown", is_holder=True
)


def is_dead(claim: Claim) -> bool:
    """Whether the owner is a process of this machine that is gone, or has not been heard of for too long."""
    import psutil

    if claim.age_s > DEAD_AFTER_S:
        return True
    if claim.owner.machine != _machine():
        return False
    try:
        process = psutil.Process(claim.owner.pid)
        is_same = abs(process.create_time() - claim.owner.process_started_s) < _SAME_START_S
        return not is_same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


@contextmanager
def held(run: RunDirectory, tell: Callable[[str], None], *, take_over: bool = False) -> Iterator["HeldLock"]:
    """Hold a run directory while the block runs.

    Args:
        run: the directory; it is made where it is missing.
        tell: receives a sentence for a person.
        take_over: take it from whoever holds it.

    Raises:
        ValueError: another run holds it; says which. Or the directory cannot be written.
        TakenOver: another run took it while the block ran.
    """
    lock = HeldLock(run, this_process(), tell)
    heart = threading.Thread(target=lock.refresh_until_done, name="run-lock", daemon=True)
    try:
        with stopping.at_forced_end(lock.give_up):
            lock.acquire(take_over)
            heart.start()
            yield lock
    except BaseException as error:
        if lock.lost:
            raise TakenOver(lock.lost) from error
        raise
    finally:
        lock.done.set()
        if heart.is_alive():
            heart.join()
        lock.release()


class HeldLock:
    """A run's own file."""

    def __init__(self, run: RunDirectory, owner: Owner, tell: Callable[[str], None]) -> None:
        self._run, self.owner, self._tell = run, owner, tell
        self._made = _missing_folders(run)
        self.done = threading.Event()
        self._refreshing = threading.Lock()
        self.lost = ""
        """Why the lock is no longer this run's; empty while it is."""

    def acquire(self, take_over: bool) -> None:
        """Write the file, unless another run holds the directory."""
        blocking: list[Claim] = []
        for num_tries in range(_NUM_TRIES):
            self._write()
            blocking = self._others(take_over)
            if not blocking:
                self.owner = replace(self.owner, is_holder=True)
                self._write()
                return
            self.release()
            if any(claim.owner.is_holder for claim in blocking):
                break
            # both asked at once and both gave way: they come back after times of their own
            time.sleep(0.1 + int(self.owner.token[2 * num_tries :][:4], 16) / 0xFFFF)
        raise ValueError(
            f"run directory {self._run.uri} is in use by {blocking[0]}: wait until it has ended, choose another "
            "directory, or take it with --take-over"
        )

    def _others(self, take_over: bool) -> list[Claim]:
        """Who else holds the directory or asks for it; files of the dead are deleted."""
        others = [claim for claim in claims_in(self._run) if claim.owner.token != self.owner.token]
        gone = [claim for claim in others if take_over or is_dead(claim)]
        for claim in gone:
            self._tell(f"taking the run directory over from {claim}")
            self._run.delete(layout.claim(claim.owner.token))
        tokens = (claim.owner.token for claim in gone)
        self.owner = replace(self.owner, took_over=(*self.owner.took_over, *tokens))
        return [claim for claim in others if claim not in gone]

    def refresh_until_done(self) -> None:
        """What the thread does: writes the file again, and ends the run where another took the directory."""
        while not self.done.wait(REFRESH_EVERY_S):
            try:
                self.refresh()
            except (OSError, ValueError) as error:
                # a store may be out of reach for a while; whether the lock is still ours is seen at the next time
                self._tell(f"the lock of the run directory could not be refreshed: {error}")
            if self.lost:
                stopping.interrupt(self.lost)
                return

    def refresh(self) -> None:
        """Write the file again, or find that the directory was taken over; does nothing once the lock is given up."""
        with self._refreshing:
            if not self.done.is_set():
                self._refresh()

    def _refresh(self) -> None:
        claims = claims_in(self._run)
        takers = [c for c in claims if self.owner.token in c.owner.took_over]
        if takers or not any(claim.owner.token == self.owner.token for claim in claims):
            by = f"taken over by {takers[0]}" if takers else "given to another run, or its lock was deleted"
            self.lost = f"run directory {self._run.uri} was {by}: this run ends, and leaves it as it is"
            return
        for claim in claims:
            if claim.owner.token in self.owner.took_over:
                self._run.delete(layout.claim(claim.owner.token))
        self._write()

    def _write(self) -> None:
        fields = dataclasses.asdict(self.owner)
        self._run.write_json(layout.claim(self.owner.token), fields)

    def give_up(self) -> None:
        """Release the lock while the thread that refreshes it may be at work; it must not write the file again."""
        self.done.set()
        is_idle = self._refreshing.acquire(timeout=_REFRESHED_WITHIN_S)
        self.release()
        if is_idle:
            self._refreshing.release()

    def release(self) -> None:
        """Delete the file."""
        try:
            self._run.delete(layout.claim(self.owner.token))
        except OSError as error:
            self._tell(f"the lock of the run directory could not be deleted ({error}): it lapses by itself")
        if self._run.is_local:
            with suppress(OSError):  # another run may be asking, or something was written
                for folder in (self._run.path(layout.LOCK), *self._made):
                    os.rmdir(folder)


def _missing_folders(run: RunDirectory) -> list[str]:
    """The folders of a local run directory that are not there yet, the innermost first."""
    if not run.is_local:
        return []
    folder = Path(run.path(layout.LOCK)).parent
    return [str(path) for path in (folder, *folder.parents) if not path.exists()]
