"""Workload allocations: what it asks for, in every arm alike, and how it ends."""

from random import Random
from struct import unpack

import numpy as np
import pytest

from djinnload.errors import ScenarioError
from djinnload.models.assets import ModelAssets
from djinnload.spi import Outcome, Reply, Session, Tensor, Workload
from djinnload.units import Duration, Share, Size
from djinnload.workloads.allocations import Allocations

OK = Reply(Outcome.OK)


def allocations(**options):
    return Allocations(Allocations.Options(**options), ModelAssets(1))


def requests(workload, seed=0, replies=(OK,)):
    generator, sent = workload.session(Session(Random(seed))), []
    try:
        sent.append(next(generator))
        while True:
            reply = replies[min(len(sent), len(replies)) - 1]
            sent.append(generator.send(reply))
    except StopIteration:
        return sent


def numbers(request, name):
    tensor = request.inputs.get(name)
    return () if tensor is None else unpack(f"<{tensor.shape[0]}q", tensor.data)


def sizes(sent):
    return [numbers(each, "block")[1] for each in sent]


def test_a_session_holds_as_many_blocks_as_it_shall():
    workload = allocations(allocations=6, blocks=2, hold=Duration(7))
    assert isinstance(workload, Workload)
    sent = requests(workload)
    assert [numbers(each, "block")[0] for each in sent] == list(range(6))
    released = [numbers(each, "release") for each in sent]
    assert released == [(), (), (0,), (1,), (2,), (3,)]
    assert [each.think_ns for each in sent] == [0, 7, 7, 7, 7, 7]
    assert [each.turn for each in sent] == list(range(6))
    assert [each.last for each in sent] == [False] * 5 + [True]
    assert {(each.model, each.state) for each in sent} == {("allocator", "blocks")}


def test_what_is_asked_for_follows_from_the_seed():
    workload = allocations()
    one, same, other = (requests(workload, seed) for seed in (5, 5, 6))
    assert one == same
    assert sizes(one) != sizes(other)
    # A reply that says something else changes nothing.
    held = Reply(Outcome.OK, outputs={"held": Tensor("held", (2,), "int64", bytes(16))})
    assert requests(workload, 5, (held,)) == one


def test_sizes_are_log_uniform_and_some_come_again():
    drawn = sizes(requests(allocations(allocations=20_000, reuse=Share(0.0))))
    low, high = 256 * 2**10, 16 * 2**20
    assert low <= min(drawn)
    assert max(drawn) <= high
    share = np.log(np.array(drawn) / low) / np.log(high / low)
    # alpha = 1e-6, of a mean of 20,000 that are uniform on 0 to 1.
    assert abs(share.mean() - 0.5) < 4.9 * (1 / 12 / 20_000) ** 0.5
    again = sizes(requests(allocations(allocations=2_000, reuse=Share(0.3))))
    repeated = 1 - len(set(again)) / len(again)
    # alpha = 1e-6, binomial; of 16 million sizes a few meet by chance.
    assert abs(repeated - 0.3) < 4.9 * (0.3 * 0.7 / 2_000) ** 0.5 + 0.01
    assert len(set(sizes(requests(allocations(reuse=Share(1.0)))))) == 1


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.REFUSED])
def test_after_a_failure_it_frees_what_it_holds_and_gives_up(outcome):
    sent = requests(allocations(allocations=5), replies=(OK, OK, Reply(outcome)))
    assert len(sent) == 4
    assert (sent[-1].step, sent[-1].last, sent[-1].inputs) == ("free", True, {})
    assert sent[-1].turn == sent[-2].turn
    last = requests(allocations(allocations=2), replies=(OK, Reply(outcome)))
    assert len(last) == 2  # that one has freed all already


class Nothing:
    def __init__(self):
        self.state = {}


def test_what_the_server_says_it_holds_is_checked():
    workload = allocations(allocations=3, blocks=2, reuse=Share(0.0))
    sent = requests(workload)
    first, second, third = sizes(sent)
    reference = Nothing()
    for request, held in zip(
        sent, [(1, first), (2, first + second), (2, second + third)], strict=True
    ):
        data = np.array(held, dtype="<i8").tobytes()
        outputs = {"held": Tensor("held", (2,), "int64", data)}
        assert workload.verify(request, Reply(Outcome.OK, outputs), reference).ok
    check = workload.verify(sent[0], Reply(Outcome.OK), Nothing())
    assert (check.ok, check.reason) == (False, f"holds (), not (1, {first})")


@pytest.mark.parametrize(("low", "high"), [(0, 4), (5, 4)])
def test_sizes_that_are_none(low, high):
    with pytest.raises(ScenarioError, match="no more than largest") as caught:
        allocations(smallest=Size(low), largest=Size(high))
    assert caught.value.path == "smallest"
