"""What is written while Ray starts stays out of the terminal, by Python and by anything below it."""

import logging
import os
import subprocess
import sys

import pytest

from flowerti import stopping
from flowerti.cluster.quiet import stderr_kept_back

_PROGRAM = """
import os, sys
from flowerti.cluster.quiet import stderr_kept_back
print("before", file=sys.stderr)
with stderr_kept_back():
    print("from Python", file=sys.stderr)
    os.write(2, b"from C++\\n")
    os.system("echo from a program >&2")
    print("to the output", flush=True)
print("after", file=sys.stderr)
"""


def test_only_what_comes_before_and_after_is_seen():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("to the output\n", "before\nafter\n")


def fail_with_words() -> None:
    """Write something, and fail."""
    with stderr_kept_back():
        os.write(2, b"why\n")
        raise OSError("no")


def test_what_was_kept_back_is_in_the_log_where_the_block_fails(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG, "flowerti.cluster.quiet"), pytest.raises(OSError, match=r"^no$"):
        fail_with_words()
    assert [record.getMessage() for record in caplog.records] == ["why"]
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_a_forced_end_can_still_say_its_line(capfd: pytest.CaptureFixture[str]):
    with stderr_kept_back():
        stopping._clean_up()
        os.write(2, b"stopped\n")
    assert capfd.readouterr().err == "stopped\n"
