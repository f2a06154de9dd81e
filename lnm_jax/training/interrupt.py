"""Signals that ask a run to end: the first politely, the second at once."""

from __future__ import annotations

import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """Notices SIGTERM and SIGINT while it is entered.

    A second signal ends the process at once with status 128 + signal: after the first one the
    system's own action is back. Nothing is harmed by it, as checkpoints are written whole or not
    at all. Python notices the first one between two of its calls, so that both wait for a program
    that is being compiled. Outside the main thread, where Python can't set handlers, nothing is
    noticed.

    Attributes:
      asked: whether the run should end.
    """

    asked = False

    def __enter__(self):
        main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS if main}
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_):
        self.asked = True
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
