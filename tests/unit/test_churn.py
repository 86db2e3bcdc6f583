"""Allocation steps: what is timed, held, checked; and what no broken allocator hides."""

import ctypes
import threading
from struct import pack, unpack

import pytest

from djinnload.errors import HostError
from djinnload.server.allocators import KNOWN, make
from djinnload.server.arena import Arena
from djinnload.server.churn import Churn, Corrupted
from djinnload.server.inputs import RequestError
from djinnload.server.settings import MEMORIES
from djinnload.spi import Tensor

MIB = 2**20


def tensor(name, *numbers, dtype="int64"):
    return Tensor(name, (len(numbers),), dtype, pack(f"<{len(numbers)}q", *numbers))


def step(churn, session, block=None, release=(), *, last=False):
    inputs = [tensor("block", *block)] if block else []
    inputs += [tensor("release", *release)] if release else []
    (held,), took = churn.step(session, inputs, last=last)
    return unpack("<2q", held.data), took


@pytest.fixture(params=KNOWN["cpu"])
def churn(request):
    return Churn(make(request.param, "cpu", 4 * MIB))


def test_a_session_holds_what_it_took_until_it_frees_it(churn):
    held, took = step(churn, "a", (0, MIB))
    assert held == (1, MIB)
    assert took > 0
    assert step(churn, "b", (0, 100))[0] == (1, 100)
    assert step(churn, "a", (1, 1), release=[0])[0] == (1, 1)
    assert step(churn, "a", release=[1]) == ((0, 0), 0)
    usage = churn.usage()
    assert usage["memory_allocations"] == 3
    assert usage["memory_requested_bytes"] == 100
    assert usage["memory_canaries_checked"] == 2  # one byte has none
    assert (usage["memory_blocks"], usage["memory_corrupted"]) == (1, 0)


def test_the_last_request_of_a_session_frees_all_of_it(churn):
    for number in range(5):
        step(churn, "a", (number, 1000))
    assert step(churn, "a", (5, 1000), last=True)[0] == (6, 6000)
    usage = churn.usage()
    assert usage["memory_requested_bytes"] == usage["memory_sessions"] == 0
    assert usage["memory_canaries_checked"] == 12
    assert step(churn, "a", (0, 1))[0] == (1, 1)  # a new one of that name


def test_who_names_no_session_leaves_nothing(churn):
    assert step(churn, None, (0, 1000))[0] == (1, 1000)
    assert churn.usage()["memory_blocks"] == 0


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([tensor("block", 0, 10), tensor("release", 7)], "block 7 is not held"),
        ([tensor("block", 0, 0)], "of 0 bytes"),
        ([tensor("block", 0, -1)], "of -1 bytes"),
        ([tensor("block", 1, 10)], "block 1 is held already"),
        ([tensor("block", 0)], "a number and its bytes"),
        ([tensor("release", 1, dtype="float64")], "must be int64"),
        ([Tensor("release", (1, 1), "int64", bytes(8))], "of one dimension"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(churn, inputs, reason):
    step(churn, "a", (1, 10))
    with pytest.raises(RequestError, match=reason):
        churn.step("a", inputs, last=False)
    assert churn.usage()["memory_blocks"] == 1


def test_a_full_arena_is_a_refusal_and_says_how_it_is():
    churn = Churn(make("arena", "cpu", MIB))
    step(churn, "a", (0, MIB // 2))
    with pytest.raises(RequestError, match="quota exceeded: no room for 786432 bytes"):
        step(churn, "b", (0, 3 * MIB // 4))
    usage = churn.usage()
    assert usage["memory_utilisation"] == 0.5
    assert usage["memory_fragmentation"] == 0
    step(churn, "b", (0, MIB // 4))
    step(churn, "a", release=[0], last=True)
    assert churn.usage()["memory_fragmentation"] == pytest.approx(1 / 3)


def test_malloc_says_what_it_has_of_the_system_and_not_how_free_memory_lies():
    churn = Churn(make("malloc", "cpu", 0))
    step(churn, "a", (0, 64 * MIB))
    usage = churn.usage()
    assert usage["memory_reserved_bytes"] >= 64 * MIB
    assert 0 < usage["memory_utilisation"] <= 1
    assert "memory_fragmentation" not in usage
    step(churn, "a", last=True)


def test_what_malloc_had_free_before_counts_as_what_it_has():
    library = ctypes.PyDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    # Of a size that comes from the heap, with one left at the end so that it stays.
    *many, last = [library.malloc(100_000) for _ in range(2000)]
    for each in many:
        library.free(each)
    churn = Churn(make("malloc", "cpu", 0))
    step(churn, "a", (0, 64 * MIB))
    usage = churn.usage()
    library.free(last)
    assert usage["memory_reserved_bytes"] >= 64 * MIB
    assert 0 < usage["memory_utilisation"] <= 1
    step(churn, "a", last=True)


def test_sessions_do_not_disturb_each_other(churn):
    failed = []

    def work(name):
        try:
            for number in range(200):
                release = [number - 3] if number >= 3 else []
                step(churn, name, (number, 1 + 977 * number % 5000), release)
            step(churn, name, last=True)
        except Exception as error:  # noqa: BLE001 - of a thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    usage = churn.usage()
    assert failed == []
    assert usage["memory_allocations"] == 800
    assert usage["memory_canaries_checked"] == 1600 - 8
    assert usage["memory_blocks"] == usage["memory_corrupted"] == 0


def trampling(at):
    """An arena in which whoever allocates writes into a block of session "a"."""
    allocator = make("arena", "cpu", 4 * MIB)
    given = allocator.allocate

    def allocate(session, nbytes):
        held = given(session, nbytes)
        mine = allocator.arena.of_session("a")
        if session != "a" and mine:
            allocator.write(allocator.base + mine[0].start + at, b"\0")
        return held

    allocator.allocate = allocate
    return Churn(allocator)


@pytest.mark.parametrize(("at", "end"), [(0, "begins"), (999, "ends")])
@pytest.mark.parametrize("last", [False, True])
def test_a_canary_that_another_session_wrote_over(at, end, last):
    churn = trampling(at)
    step(churn, "a", (0, 1000))
    step(churn, "b", (0, 1000))
    said = f"memory corrupted: block 0 of session a {end}"
    with pytest.raises(Corrupted, match=said):
        step(churn, "a", release=[] if last else [0], last=last)
    usage = churn.usage()
    assert (usage["memory_corrupted"], usage["memory_blocks"]) == (1, 1)


@pytest.mark.parametrize("shift", [0, 300, -300])
def test_blocks_that_overlap(shift):
    allocator = make("arena", "cpu", 4 * MIB)
    allocator.arena = Arena(4 * MIB)
    step(churn := Churn(allocator), "a", (0, 1000))
    step(churn, "b", (0, 1000))
    given = allocator.allocate

    def allocate(session, nbytes):
        held = given(session, nbytes)
        # As far as canaries can tell, a block inside another harms nobody.
        return type(held)(allocator.base + 1024 + shift, nbytes, held.token)

    allocator.allocate = allocate
    with pytest.raises(Corrupted, match="block 0 of session c overlaps another block"):
        step(churn, "c", (0, 500))
    assert churn.usage()["memory_corrupted"] == 1


@pytest.mark.parametrize(
    ("memory", "device", "reason"),
    [
        ("cudamalloc", "cpu", "there is: arena, torch, malloc"),
        ("malloc", "cuda:0", "there is: arena, torch, cudamalloc"),
        ("arena", "mps", "there is: none"),
        ("arena", "cpu", "no arena on cpu"),
    ],
)
def test_an_allocator_that_cannot_be_had(memory, device, reason):
    with pytest.raises(HostError, match=reason):
        make(memory, device, 2**60)


@pytest.mark.parametrize("memory", KNOWN["cuda"])
def test_a_gpu_that_is_not_there(memory):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this host has a GPU")
    with pytest.raises(HostError, match=f"no {memory} on cuda: "):
        make(memory, "cuda", MIB)


@pytest.mark.parametrize("memory", KNOWN["cuda"])
def test_the_allocators_of_a_gpu(memory):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this host has no GPU")
    churn = Churn(make(memory, "cuda", 64 * MIB))
    step(churn, "a", (0, MIB))
    step(churn, "b", (0, 32 * MIB))
    step(churn, "a", (1, 256), release=[0])
    usage = churn.usage()
    assert usage["memory_requested_bytes"] == 32 * MIB + 256
    assert usage["memory_reserved_bytes"] >= 32 * MIB
    assert ("memory_fragmentation" in usage) == (memory != "cudamalloc")
    step(churn, "a", last=True)
    step(churn, "b", last=True)
    assert churn.usage()["memory_canaries_checked"] == 6


def test_who_shares_its_device_is_told_when_nothing_is_in_use():
    allocator, told = make("arena", "cpu", MIB), []
    allocator.idle = lambda: told.append("idle")
    churn = Churn(allocator)
    step(churn, "a", (0, 10))
    step(churn, "b", (0, 10))
    assert told == ["idle"]
    step(churn, "a", last=True)
    step(churn, "b", last=True)
    step(churn, "a", (0, 10))
    assert told == ["idle"] * 2


def test_every_allocator_is_of_some_device():
    assert {name for names in KNOWN.values() for name in names} == set(MEMORIES)
