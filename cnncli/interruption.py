"""Ends long work in good order: the first Ctrl-C or SIGTERM is noted, and the work saves itself."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from cnncli.errors import TerminatedError


class Stop:
    """Whether the user wants the work to end."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def raise_again(self) -> None:
        """Raises what the signal would have raised at once, if one came."""
        if self.signal is not None:
            raise (KeyboardInterrupt if self.signal == signal.SIGINT else TerminatedError)


@contextlib.contextmanager
def deferred() -> Iterator[Stop]:
    """While it lasts the first SIGINT, SIGTERM or SIGHUP is noted; the second acts at once.

    Outside the main thread, where Python handles no signals, nothing is deferred.
    """
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        again = stop.requested
        stop.signal = number
        if again:
            stop.raise_again()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    wanted = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in wanted}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, note)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
