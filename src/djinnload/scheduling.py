"""How long the kernel lets a thread run at a time, and where.

From Linux 6.12 a thread may ask for a slice of its own. One that asks for a short one
preempts those with longer ones when it wakes up, as long as it gets no more than its
fair share. It needs no privilege; elsewhere nothing happens.

Source: Zijlstra, "sched/eevdf: Allow shorter slices to wakeup-preempt", and "Use
sched_attr::sched_runtime to set request/slice suggestion" (Linux 6.12).
"""

import ctypes
import os
import platform
import sys
from contextlib import suppress
from typing import ClassVar

__all__ = ("Apart", "use_slice")

_SETATTR = {"x86_64": 314, "aarch64": 274}
_SCHED_OTHER = 0


class _Attributes(ctypes.Structure):
    _fields_: ClassVar = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def use_slice(ns: int) -> bool:
    """Ask for slices of *ns* for the calling thread; return whether that is granted.

    Threads and processes that it starts from then on inherit it.

    Args:
        ns: 100 µs to 100 ms; 0: the kernel's own.
    """
    number = _SETATTR.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    if os.sched_getscheduler(0) != _SCHED_OTHER:
        return False  # somebody has chosen another policy for us
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _Attributes(ctypes.sizeof(_Attributes), _SCHED_OTHER, 0, nice, 0, ns)
    call = ctypes.CDLL(None).syscall
    return bool(call(number, 0, ctypes.byref(wanted), 0) == 0)


class Apart:
    """Keeps a process that we start off the core that we are on, where it may.

    One that works for a millisecond at a time makes a request wait for as long, though
    other cores are idle: the kernel likes to wake a process where its waker is.

    Args:
        pid: That process; the cores that it may use now are those it will have.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._off: int | None = None
        self._cores: set[int] = set()
        if sys.platform == "linux":
            self._core = ctypes.PyDLL(None).sched_getcpu
            with suppress(OSError):
                self._cores = os.sched_getaffinity(pid)

    def look(self) -> None:
        """Keep it off the calling thread's core; 0.1 µs if that is as before."""
        if len(self._cores) < 2:  # noqa: PLR2004
            return
        core = self._core()
        if core != self._off:
            self._off = core
            with suppress(OSError):  # it has ended, as others will see
                os.sched_setaffinity(self._pid, self._cores - {core})
