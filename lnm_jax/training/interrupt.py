"""Signals that ask a run to end: the first politely, the second at once."""

from __future__ import annotations

import os
import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """Notices SIGTERM and SIGINT while it is entered; `asked` says whether one came.

    A second signal ends the process at once with status 128 + signal, also while it compiles:
    a thread waits for signals, since Python runs handlers only between two calls. Nothing is
    harmed by it, as checkpoints are written whole or not at all. Outside the main thread, where
    Python can't set handlers, nothing is noticed.
    """

    def __init__(self):
        self._asked = threading.Event()

    @property
    def asked(self) -> bool:
        """Whether the run should end."""
        return self._asked.is_set()

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is not threading.main_thread():
            return self
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in SIGNALS:
            self._before[number] = signal.signal(number, lambda *_: None)
        threading.Thread(target=self._watch, args=(self._read,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        if not self._before:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)  # ends the thread

    def _watch(self, read: int) -> None:
        while number := os.read(read, 1):
            if number[0] not in SIGNALS:
                continue
            if self._asked.is_set():
                os._exit(128 + number[0])
            self._asked.set()
        os.close(read)
