"""The allocators that can be compared, behind one interface; by address.

``arena``: `Arena` over one buffer, had when the server starts, its pages touched.
``malloc``: the C library's. ``torch``: PyTorch's caching allocator on a GPU; on a CPU
what ``torch.empty`` does, which keeps nothing. ``cudamalloc``: the CUDA runtime's.
C functions are called without giving up the interpreter's lock, so that the time of a
call is the call's; torch is imported on first use.
"""

import ctypes
import mmap
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from djinnload.errors import HostError
from djinnload.server.arena import Arena

__all__ = ("Allocator", "Held", "make")

#: By kind of device.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "cpu": ("arena", "torch", "malloc"),
    "cuda": ("arena", "torch", "cudamalloc"),
}
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind


class Held(Struct, frozen=True):
    """Memory in use.

    Attributes:
        address: Of its first byte, on the device.
        token: What its allocator frees it by.
    """

    address: int
    nbytes: int
    token: Any = None


class Allocator(Protocol):
    """Memory of one device; its methods may be called from several threads."""

    def allocate(self, session: str, nbytes: int) -> Held:
        """Return *nbytes* of memory, > 0.

        Raises:
            MemoryError: There is none.
        """
        ...

    def free(self, held: Held) -> None:
        """Give back what `allocate` returned, once."""
        ...

    def free_session(self, session: str, held: Iterable[Held]) -> None:
        """Give back all that *session* has, which is *held*."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Copy *data* to memory in use."""
        ...

    def read(self, address: int, nbytes: int) -> bytes:
        """Return what is in memory in use."""
        ...

    def idle(self) -> None:
        """Take note that nothing is in use; called before the next allocation."""
        ...

    def usage(self) -> dict[str, float]:
        """Return bytes by name; what it cannot know is left out.

        ``reserved`` has been taken from the system; ``free`` of it is in no block,
        ``largest_free`` of that in one piece.
        """
        ...


def make(memory: str, device: str, capacity: int) -> Allocator:
    """Return the allocator called *memory* on *device*.

    Args:
        memory: Of `djinnload.server.settings.MEMORIES`.
        device: ``cpu``, ``cuda``, ``cuda:1`` …
        capacity: Bytes of an arena; the others take what they need.

    Raises:
        HostError: The device has no such allocator, or not so much memory.
    """
    kind = device.partition(":")[0]
    if memory not in KNOWN.get(kind, ()):
        known = ", ".join(KNOWN.get(kind, ())) or "none"
        raise HostError(f"{device} has no allocator {memory!r}; there is: {known}")
    found: Mapping[tuple[str, str], Callable[[], Allocator]] = {
        ("cpu", "arena"): lambda: _HostArena(capacity),
        ("cpu", "torch"): _HostTorch,
        ("cpu", "malloc"): _Malloc,
        ("cuda", "arena"): lambda: _DeviceArena(capacity, device),
        ("cuda", "torch"): lambda: _CachingTorch(device),
        ("cuda", "cudamalloc"): lambda: _CudaMalloc(device),
    }
    try:
        return found[kind, memory]()
    except (AssertionError, RuntimeError, OSError, MemoryError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise HostError(f"no {memory} on {device}: {lines[0]}") from error


class _Host:
    """Reads and writes this process's own memory."""

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))

    def read(self, address: int, nbytes: int) -> bytes:
        return ctypes.string_at(address, nbytes)


class _Device:
    """Reads and writes a GPU's memory with the CUDA runtime that torch brought."""

    def __init__(self, device: str) -> None:
        import torch

        self.device = torch.device(device)
        torch.cuda.init()  # type: ignore[no-untyped-call]
        self.index = self.device.index or 0
        self.runtime = _cuda_runtime()

    def write(self, address: int, data: bytes) -> None:
        self._copy(address, data, len(data), _TO_DEVICE)

    def read(self, address: int, nbytes: int) -> bytes:
        found = ctypes.create_string_buffer(nbytes)
        self._copy(found, address, nbytes, _TO_HOST)
        return found.raw

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function of the runtime on this thread's device; return its error."""
        self.runtime.cudaSetDevice(self.index)
        return int(getattr(self.runtime, name)(*arguments))

    def _copy(self, to: Any, of: Any, nbytes: int, kind: int) -> None:
        pointers = [
            ctypes.c_void_p(each) if isinstance(each, int) else each
            for each in (to, of)
        ]
        error = self.call("cudaMemcpy", *pointers, ctypes.c_size_t(nbytes), kind)
        if error:
            raise RuntimeError(f"cudaMemcpy failed with error {error}")


class _Steady:
    """Need not know when nothing is in use."""

    def idle(self) -> None:
        pass


class _Arena(_Steady):
    """An `Arena` over memory that begins at `base`."""

    base: int
    arena: Arena

    def allocate(self, session: str, nbytes: int) -> Held:
        block = self.arena.allocate(session, nbytes)
        return Held(self.base + block.start, nbytes, block)

    def free(self, held: Held) -> None:
        self.arena.free(held.token)

    def free_session(self, session: str, held: Iterable[Held]) -> None:
        del held  # it knows
        self.arena.free_session(session)

    def usage(self) -> dict[str, float]:
        found = self.arena.usage()
        return {
            "reserved": found.capacity,
            "allocated": found.allocated,
            "free": found.free,
            "largest_free": found.largest_free,
        }


class _HostArena(_Host, _Arena):
    def __init__(self, capacity: int) -> None:
        self._buffer = mmap.mmap(-1, capacity)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        ctypes.memset(self.base, 0, capacity)  # pages are had now, not on first use
        self.arena = Arena(capacity)


class _DeviceArena(_Device, _Arena):
    def __init__(self, capacity: int, device: str) -> None:
        import torch

        super().__init__(device)
        self._buffer = torch.empty(capacity, dtype=torch.uint8, device=self.device)
        self.base = self._buffer.data_ptr()
        self.arena = Arena(capacity)


class _Plain:
    """Frees a session's memory one by one."""

    def free(self, held: Held) -> None:
        raise NotImplementedError

    def free_session(self, session: str, held: Iterable[Held]) -> None:
        del session
        for each in held:
            self.free(each)


class _HostTorch(_Host, _Plain, _Steady):
    def __init__(self) -> None:
        import torch

        self._empty, self._bytes = torch.empty, torch.uint8

    def allocate(self, session: str, nbytes: int) -> Held:
        del session
        made = self._empty(nbytes, dtype=self._bytes)
        return Held(made.data_ptr(), nbytes, [made])

    def free(self, held: Held) -> None:
        held.token.clear()  # the last that holds the tensor

    def usage(self) -> dict[str, float]:
        return {}


class _Malloc(_Host, _Plain, _Steady):
    def __init__(self) -> None:
        library = ctypes.PyDLL(None)
        self._malloc, self._free = library.malloc, library.free
        self._malloc.restype, self._malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        self._free.restype, self._free.argtypes = None, [ctypes.c_void_p]
        found = _heap()
        self._others = found["reserved"] - found["free"] if found else 0

    def allocate(self, session: str, nbytes: int) -> Held:
        del session
        address = self._malloc(nbytes)
        if address is None:
            raise MemoryError(f"malloc has no {nbytes} bytes")
        return Held(address, nbytes)

    def free(self, held: Held) -> None:
        self._free(held.address)

    def usage(self) -> dict[str, float]:
        found = _heap()
        # Of the process, less what it used before: free memory that it had then is
        # memory to allocate from. It cannot say how free memory lies.
        if found:
            found["reserved"] = max(0, found["reserved"] - self._others)
        return found


class _CachingTorch(_Device, _Plain, _Steady):
    def allocate(self, session: str, nbytes: int) -> Held:
        import torch

        del session
        try:
            address = torch.cuda.caching_allocator_alloc(nbytes, self.index)
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"torch has no {nbytes} bytes") from error
        return Held(address, nbytes)

    def free(self, held: Held) -> None:
        import torch

        address = held.address
        torch.cuda.caching_allocator_delete(address)  # type: ignore[no-untyped-call]

    def usage(self) -> dict[str, float]:
        import torch

        segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        free = [
            block["size"]
            for segment in segments
            for block in segment["blocks"]
            if segment["device"] == self.index and block["state"] == "inactive"
        ]
        return {
            "reserved": torch.cuda.memory_reserved(self.index),
            "allocated": torch.cuda.memory_allocated(self.index),
            "free": sum(free),
            "largest_free": max(free, default=0),
        }


class _CudaMalloc(_Device, _Plain):
    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._before = self._free_bytes()

    def allocate(self, session: str, nbytes: int) -> Held:
        del session
        found = ctypes.c_void_p()
        error = self.call("cudaMalloc", ctypes.byref(found), ctypes.c_size_t(nbytes))
        if error or not found.value:
            raise MemoryError(f"cudaMalloc of {nbytes} bytes failed with error {error}")
        return Held(found.value, nbytes)

    def free(self, held: Held) -> None:
        self.call("cudaFree", ctypes.c_void_p(held.address))

    def idle(self) -> None:
        # Other servers on this GPU may have taken or given back memory meanwhile.
        self._before = self._free_bytes()

    def usage(self) -> dict[str, float]:
        free = self._free_bytes()
        # Of the whole GPU, whoever uses it; the driver does not say how it lies.
        return {"reserved": max(0, self._before - free), "free": free}

    def _free_bytes(self) -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value


def _cuda_runtime() -> Any:
    """Return the CUDA runtime that this process has loaded already."""
    maps = Path("/proc/self/maps").read_text("utf-8")
    found = re.search(r"/\S*libcudart[^/\s]*\.so\S*", maps)
    if found is None:
        raise OSError("torch brought no libcudart")
    return ctypes.PyDLL(found[0])


def _heap() -> dict[str, float]:
    """Return what the C library's heaps have of the system, and what of it is free.

    Empty where it is not glibc.
    """
    library = ctypes.PyDLL(None)
    if not hasattr(library, "malloc_info"):
        return {}
    library.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(
        library.open_memstream(ctypes.byref(text), ctypes.byref(size))
    )
    library.malloc_info(0, stream)
    library.fclose(stream)
    # What is said of all heaps together comes last.
    told = (text.value or b"").rpartition(b"</heap>")[2].decode()
    library.free(text)
    kinds = dict(re.findall(r'<total type="(\w+)" count="\d+" size="(\d+)"', told))
    system = re.search(r'<system type="current" size="(\d+)"', told)
    of_heaps = int(system[1]) if system else 0
    return {
        "reserved": of_heaps + int(kinds.get("mmap", 0)),
        "free": int(kinds.get("fast", 0)) + int(kinds.get("rest", 0)),
    }
