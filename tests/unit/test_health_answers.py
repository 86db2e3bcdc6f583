"""WRONG, NO_ANSWERS, the class that replies tell, and servers that tell of no queue."""

import numpy as np
import pytest
from msgspec import structs

from djinnload.health.cell import judge_cell, not_applicable
from health_kit import cell, codes, population, renamed  # tests/, by conftest.py


def ended(outcome, *, rate=20.0, but=0, name="batch"):
    """A population whose turns all end so, but for the first *but*."""

    def change(column, rng):
        column[but:] = outcome
        return column

    return population(1, rate=rate, outcome=change, name=name)


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        ("error", ["NO_ANSWERS"]),
        # What a policy does to one class is a result.
        ("refused", []),
        # As is that it starves: all of it is UNDELIVERED only to an open population.
        ("timeout", []),
    ],
)
def test_a_class_that_nobody_answered(outcome, found):
    starved = renamed(ended(outcome), "batch", "closed")
    both = cell(population(0, rate=40), starved)
    assert codes(judge_cell(both)) == found
    # Alone, nothing was served whatever it ended in.
    assert codes(judge_cell(cell(starved))) == ["NO_ANSWERS"]


def test_wrong_answers_are_answers():
    wrong = renamed(ended("wrong"), "batch", "closed")
    assert codes(judge_cell(cell(wrong))) == ["WRONG"]


def test_one_wrong_answer_voids():
    def one(column, rng):
        column[:100] = True
        column[50] = False
        return column

    (finding,) = judge_cell(cell(population(0, verified=one)))
    assert (finding.code, finding.void, finding.value) == ("WRONG", True, 1)
    assert "1 of 100" in finding.message


def test_none_wrong_is_reported_with_its_bound():
    def checked(column, rng):
        column[:299] = True
        return column

    (finding,) = judge_cell(cell(population(0, verified=checked)))
    assert (finding.code, finding.void) == ("verified", False)
    assert finding.value == pytest.approx(0.01, rel=0.01)


def test_one_answer_is_one():
    one = renamed(ended("error", but=1), "batch", "closed")
    assert codes(judge_cell(cell(one))) == []


def test_advice_names_the_population_and_how_many():
    (finding,) = judge_cell(
        cell(population(0, rate=40), renamed(ended("error"), "batch", "closed"))
    )
    n = int(finding.value)
    assert finding.population == "batch"
    assert f"none of {n:,} turns due was ok, {n:,} requests ended in error" in (
        finding.message
    )
    assert "server's log" in finding.message


def test_without_turns_there_is_nothing_to_judge():
    assert "NO_ANSWERS" in not_applicable(cell(population(0, rate=0)))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, []),
        ({"chat": {"realtime": 9}}, []),
        ({"chat": {"realtime": 9, "batch": 1}}, ["UNPROVEN"]),
        ({"chat": {"batch": 9}}, ["UNPROVEN"]),
        ({"other": {"batch": 9}}, []),
    ],
)
def test_the_class_that_replies_tell(said, found):
    made = structs.replace(cell(population(0)), resolved=said)
    assert codes(judge_cell(made)) == found
    assert ("UNPROVEN" in not_applicable(made)) == ("chat" not in said)


def queued(value, n=None):
    def change(column, rng):
        column[:n] = 0.0
        column[:1] = value
        return column

    return [
        each.code
        for each in judge_cell(cell(population(0, queue_ns=change)))
        if not each.void
    ]


def test_a_server_that_tells_of_no_queue():
    assert queued(0.0) == ["no-queue"]
    assert queued(1.0) == []  # 1 ns: it has one
    assert queued(0.0, 100) == ["no-queue"]
    assert queued(0.0, 99) == []
    assert queued(np.nan) == ["no-queue"]  # one that did not say
