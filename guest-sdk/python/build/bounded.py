"""Programs that a build starts, stopped when they fill the disk."""

import contextlib
import os
import subprocess
import tempfile

#: Bytes of files that a program may write, its own included.
MOST_WRITTEN = 1 << 30
#: Bytes of what it says that are read.
MOST_SAID = 16 << 20
#: Seconds between two looks.
LOOK = 0.5


class TooMuch(Exception):
    """It wrote more files than a build may have."""


def _written(folders):
    total = 0
    for folder in folders:
        for at, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(at, name)).st_size
    return total


def run(command, folders, **how):
    """Runs a program that writes to `folders`. Gives its status and what it said; `TooMuch` once it
    has written more than a build may."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, **how) as program:
            while True:
                try:
                    status = program.wait(timeout=LOOK)
                    break
                except subprocess.TimeoutExpired:
                    if _written(folders) + os.fstat(said.fileno()).st_size > MOST_WRITTEN:
                        program.kill()
                        raise TooMuch from None
        said.seek(0)
        return status, said.read(MOST_SAID)
