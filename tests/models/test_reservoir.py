"""Which sessions are kept; no torch, no child."""

from random import Random
from timeit import repeat

import msgspec
import pytest

from djinnload.errors import RemoteProtocolError
from djinnload.scenarios.schema import Verify
from djinnload.spi import Outcome, Reply, Request, Tensor
from djinnload.targets.djinn import Djinn
from djinnload.targets.null import Null
from djinnload.units import Share
from djinnload.verify import Kept, Reservoir

REQUEST = Request("echo", {"x": Tensor("x", (1,), "uint8", b"a")})


def reply(nbytes=10):
    tensor = Tensor("x", (nbytes,), "uint8", memoryview(bytes(nbytes)))
    return Reply(Outcome.OK, {"x": tensor}, bytes_received=nbytes)


def fill(reservoir, population, sessions, *, requests=1, nbytes=10):
    for index in sessions:
        for seq in range(requests):
            if reservoir.wants(population, -1, index):
                number = index * requests + seq
                reservoir.add(population, -1, index, number, REQUEST, reply(nbytes))
        reservoir.end(population, -1, index)


def sessions(reservoir, population="a"):
    return {each.index for each in reservoir.kept if each.population == population}


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_share(share):
    reservoir = Reservoir(1, share, 0)
    fill(reservoir, "a", range(10_000))
    assert len(sessions(reservoir)) == pytest.approx(10_000 * share, abs=200)


def test_hashes_are_uniform_over_users_too():
    reservoir = Reservoir(1, 0.1, 0)
    wanted = [reservoir.wants("a", user, i) for user in range(100) for i in range(100)]
    assert sum(wanted) == pytest.approx(1000, abs=120)
    tens = [sum(wanted[k : k + 100]) for k in range(0, 10_000, 100)]
    assert max(tens) < 30


def test_at_least_are_the_smallest_whatever_the_order():
    numbers = list(range(1000))
    found = []
    for seed in range(3):
        Random(seed).shuffle(numbers)
        reservoir = Reservoir(1, 0.0, 20)
        fill(reservoir, "a", numbers)
        found.append(sessions(reservoir))
    assert len(found[0]) == 20
    assert found[0] == found[1] == found[2]


def test_few_sessions_are_all_kept():
    reservoir = Reservoir(1, 0.01, 20)
    fill(reservoir, "a", range(15))
    assert sessions(reservoir) == set(range(15))


def test_share_above_at_least():
    reservoir = Reservoir(1, 0.1, 20)
    fill(reservoir, "a", range(5000))
    only_share = Reservoir(1, 0.1, 0)
    fill(only_share, "a", range(5000))
    assert sessions(reservoir) == sessions(only_share)


def test_seed_and_population_choose():
    chosen = set()
    for seed, population in ((1, "a"), (1, "b"), (2, "a")):
        reservoir = Reservoir(seed, 0.1, 0)
        fill(reservoir, population, range(500))
        chosen.add(frozenset(sessions(reservoir, population)))
    assert len(chosen) == 3


def test_pinned():
    """The same sessions in every process and Python."""
    reservoir = Reservoir(1, 0.02, 0)
    fill(reservoir, "chat", range(200))
    assert sorted(sessions(reservoir, "chat")) == [18, 19, 30, 97, 98, 109, 188]


def test_budget_gives_up_the_largest_hashes():
    everything = Reservoir(1, 0.5, 0)
    fill(everything, "a", range(1000))
    reservoir = Reservoir(1, 0.5, 0, budget_bytes=11 * 2 * 50)
    fill(reservoir, "a", range(1000), requests=2)
    kept = sessions(reservoir)
    assert 45 <= len(kept) <= 50
    order = everything._populations["a"].order
    assert kept == {index for _, _, index in order[: len(kept)]}
    assert len(reservoir.kept) == 2 * len(kept)  # whole sessions only


def test_a_busy_class_does_not_crowd_out_a_rare_one():
    reservoir = Reservoir(1, 1.0, 5, budget_bytes=11 * 100)
    fill(reservoir, "rare", range(5))
    fill(reservoir, "busy", range(1000))
    assert len(sessions(reservoir, "rare")) == 5
    assert len(sessions(reservoir, "busy")) == 95


def test_larger_than_the_budget():
    reservoir = Reservoir(1, 1.0, 5, budget_bytes=100)
    fill(reservoir, "a", range(3), nbytes=1000)
    assert reservoir.kept == []


def test_not_kept():
    """Warm-up, failures, and what was never wanted."""
    reservoir = Reservoir(1, 1.0, 5)
    reservoir.add("a", -1, -1, 0, REQUEST, reply())
    reservoir.add("a", -1, 0, 1, REQUEST, Reply(Outcome.ERROR))
    assert reservoir.kept == []
    assert not reservoir.wants("a", -1, -1)


def test_kept_is_plain():
    reservoir = Reservoir(1, 1.0, 5)
    request = msgspec.structs.replace(REQUEST, needs=("y[-1]",), turn=3)
    outputs = {n: Tensor(n, (1,), "uint8", memoryview(b"q")) for n in "xy"}
    reservoir.add("a", 2, 0, 9, request, Reply(Outcome.OK, outputs))
    (kept,) = reservoir.kept
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Kept) == kept
    assert (kept.session, kept.seq, kept.turn) == (("a", 2, 0), 9, 3)
    assert [(p.name, p.data) for p in kept.outputs] == [("y", b"q")]


class Undecodable(dict):
    def values(self):
        raise RemoteProtocolError("cut")


def test_undecodable_outputs_are_none():
    reservoir = Reservoir(1, 1.0, 5)
    reservoir.add(
        "a", 2, 0, 9, REQUEST, Reply(Outcome.OK, Undecodable(), bytes_received=5)
    )
    assert reservoir.kept[0].outputs == ()


def test_wants_is_fast():
    """About 0.2 µs; the bound leaves room for a busy machine."""
    reservoir = Reservoir(1, 0.05, 20)
    fill(reservoir, "a", range(1000))
    seconds = min(repeat(lambda: reservoir.wants("a", -1, 77), number=20_000, repeat=5))
    assert seconds / 20_000 < 2e-6


def test_a_target_without_answers_has_none_checked():
    wanted = Verify(share=Share(1.0), at_least=5)
    kept = [Reservoir.of(1, wanted, kind).wants("p", -1, 0) for kind in (Null, Djinn)]
    assert kept == [False, True]
