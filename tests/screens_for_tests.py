"""A terminal for commands that are tested."""

from __future__ import annotations

import os
import subprocess


def on_screen(command: list[str], columns: int = 80, **environment: str) -> str:
    """What a terminal of `columns` columns receives from a command."""
    import pty  # not on Windows

    master, slave = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm-256color"}
    run = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, **size, **environment})
    os.close(slave)
    received = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not block:
            break
        received += block
    os.close(master)
    assert run.wait() in (0, 3)
    return received.decode()
