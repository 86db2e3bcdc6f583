"""Sweeps: their points, names, order and seeds, what arms skip, and what is wrong."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djinnload.errors import ScenarioError
from djinnload.scenarios.cells import cells, seed_of, skipped
from djinnload.scenarios.load import loads
from djinnload.scenarios.points import points
from djinnload.scenarios.schema import NamedPoint, Sweep

TEXT = """
[scenario]
name = "s"
repeats = {repeats}
duration = "1s"
order = "{order}"
[target.server]
slots = 2
[[population]]
name = "chat"
users = 1
workload = {{ use = "echo" }}
{more}
"""
USERS = """
[[sweep]]
name = "users"
path = "population.chat.users"
values = [1, 4, 16]
"""
POLICY = """
[[sweep]]
name = "policy"
points = [
  { name = "qos", set = { "target.server.policy" = "qos" } },
  { name = "own", unset = ["target.server.slots"] },
]
"""
ARMS = """
[[arm]]
name = "a"
[[arm]]
name = "b"
set = { "target.server.slots" = 3 }
skip = { users = [16] }
"""


def scenario(more=USERS, *, order="interleaved", repeats=1):
    return loads(TEXT.format(order=order, repeats=repeats, more=more))


def ids(found):
    return [cell.id for cell in found]


def names(sweeps):
    return [point.name for point in points(sweeps)]


def sweep(name, *values):
    return Sweep(name=name, path="population.chat.users", values=values)


def test_a_point_makes_the_scenario_of_its_cells():
    found = cells(scenario())
    assert ids(found) == [f"users={n}/default/r00" for n in (1, 4, 16)]
    assert [cell.scenario.populations[0].users for cell in found] == [1, 4, 16]
    assert found[1].point_values == {"population.chat.users": 4}
    assert found[1].variant == "users=4/default"


def test_a_point_can_leave_a_population_out():
    company = """
[[population]]
name = "other"
users = 2
workload = { use = "echo" }
[[sweep]]
name = "company"
points = [{ name = "both" }, { name = "alone", unset = ["population.other"] }]
"""
    found = cells(scenario(company))
    present = [[each.name for each in cell.scenario.populations] for cell in found]
    assert present == [["chat", "other"], ["chat"]]
    assert [cell.point for cell in found] == ["company=both", "company=alone"]


def test_sweeps_multiply_and_the_last_changes_first():
    found = cells(scenario(USERS + POLICY))
    assert [cell.point for cell in found] == [
        f"users={n},policy={p}"
        for n, p in itertools.product((1, 4, 16), ("qos", "own"))
    ]
    assert [cell.scenario.target.server.policy for cell in found[:2]] == ["qos", None]
    assert [cell.scenario.target.server.slots for cell in found[:2]] == [2, None]


def test_names_are_of_files():
    named = (
        NamedPoint(name="one"),
        NamedPoint(name="two"),
    )
    assert names([Sweep(name="p", points=named)]) == ["p=one", "p=two"]
    values = ("0.9 of capacity", "20/s", 0.5, 2.0, True, "../../etc/passwd", "ü / \n x")
    assert names([sweep("x", *values)]) == [
        "x=0.9-of-capacity", "x=20-s", "x=0.5", "x=2", "x=true",
        "x=..-..-etc-passwd", "x=x",
    ]  # fmt: skip
    long = names([sweep("x", "a" * 300, "a" * 299 + "b")])
    assert [len(name) for name in long] == [120, 120]
    assert len(set(long)) == 2
    assert names([]) == ["all"]


@given(
    st.lists(st.text(max_size=40) | st.integers() | st.floats(), min_size=1),
    st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_a_name_is_one_folder_whatever_the_value(values, others):
    made = names([sweep("x", *values), sweep("y", *others)])
    assert len(made) == len(values) * len(others)
    for name in made:
        assert len(name.encode()) <= 120
        assert not set(name) & set('/\\\0:*?"<>| \n')
        assert name not in {".", ".."}


def test_the_order_is_of_points_arms_and_repeats():
    more = USERS.replace(", 16", "") + ARMS.replace("[16]", "[]")
    points_, arms = ("users=1", "users=4"), ("a", "b")
    one = [f"{p}/{a}" for p in points_ for a in arms]
    found = ids(cells(scenario(more, repeats=2)))
    assert found == [f"{v}/r00" for v in one] + [f"{v}/r01" for v in reversed(one)]
    found = ids(cells(scenario(more, order="given", repeats=2)))
    assert found == [f"{v}/r{r:02d}" for v in one for r in (0, 1)]
    shuffled = ids(cells(scenario(more, order="shuffled", repeats=2)))
    assert sorted(shuffled) == sorted(found)
    assert shuffled != found


def test_what_an_arm_skips_is_known_and_not_run():
    made = scenario(USERS + ARMS, repeats=2)
    ran, left = ids(cells(made)), ids(skipped(made))
    assert left == ["users=16/b/r00", "users=16/b/r01"]
    assert not set(ran) & set(left)
    assert len(ran) == 10
    assert skipped(made, ["a"]) == ()
    with pytest.raises(ScenarioError, match="no point of a sweep"):
        cells(loads(made.text.replace("[16]", "[1, 4, 16]")), ["b"])


def test_a_skipped_point_need_not_be_possible():
    half = '{ "population.chat.arrival.process" = "poisson" }'
    wrong = ARMS.replace('{ "target.server.slots" = 3 }', half)
    with pytest.raises(ScenarioError, match="at point users=1, arm b"):
        scenario(USERS + wrong)
    assert cells(scenario(USERS + wrong.replace("[16]", "[1, 4, 16]")), ["a"])


def test_seeds_are_of_the_point_and_repeat_never_of_the_arm():
    found = cells(scenario(USERS + ARMS, repeats=3))
    seeds = {(c.point, c.repeat): c.seed for c in found}
    assert all(cell.seed == seeds[cell.point, cell.repeat] for cell in found)
    assert len(set(seeds.values())) == len(seeds) == 9
    more = cells(scenario(USERS.replace("[1,", "[1, 2,") + ARMS, repeats=3))
    assert {(c.point, c.repeat): c.seed for c in more}.items() >= seeds.items()
    assert seed_of(1, 0, "all") == seed_of(1, 0)


def test_the_order_of_changes_is_point_arm_command_line():
    made = scenario(USERS + ARMS.replace("slots", "policy").replace("3", '"fcfs"'))
    at = {cell.variant: cell.scenario for cell in cells(made)}
    assert at["users=4/b"].target.server.policy == "fcfs"
    over = made.replace({"target.server.policy": "none"})
    assert {c.scenario.target.server.policy for c in cells(over)} == {"none"}
    fewer = made.replace({"sweep.users.values": [2, 16]})
    assert {cell.point for cell in cells(fewer)} == {"users=2", "users=16"}


WRONG = [
    (USERS.replace("4,", "0,"), "$.sweep[0] (users).values[1]", ">= 1"),
    (USERS.replace("4,", '"x",'), "$.sweep[0] (users).values[1]", "must be"),
    (USERS.replace("4,", "1,"), "$.sweep[0] (users).values[1]", "named '1' like"),
    (USERS.replace("1, 4,", '"A", "a",'), "$.sweep[0] (users).values[1]", "like number 0"),
    (USERS.replace("4,", '"/",'), "$.sweep[0] (users).values[1]", "gives no name"),
    (USERS.replace("chat.", "chta."), "$.sweep[0] (users).path", "mean 'chat'?"),
    (USERS.replace(".users", ".userz"), "$.sweep[0] (users).values[0]", "'users'?"),
    (
        USERS.replace("population.chat.users", "scenario.repeats"),
        "$.sweep[0] (users).path",
        "no sweep can change that",
    ),
    (USERS.replace("values", "valuez"), "$.sweep[0] (users).valuez", "'values'?"),
    (USERS.replace("[1, 4, 16]", "[]"), "$.sweep[0] (users).values", "length"),
    ('[[sweep]]\nname = "x"', "$.sweep[0] (x)", "either path and values, or points"),
    ('[[sweep]]\nname = "x"\nvalues = [1]', "$.sweep[0] (x).path", "is missing"),
    (POLICY.replace("points", 'path = "x"\npoints'), "$.sweep[0] (policy).path", "out"),
    (USERS + USERS, "$.sweep[1] (users).name", "is the name of sweep[0] too"),
    (
        USERS + USERS.replace('"users"', '"again"'),
        "$.sweep[1] (again)",
        "is set by sweep users too",
    ),
    (
        POLICY.replace('"qos" }', '"qso" }'),
        '$.sweep[0] (policy).points[0].set."target.server.policy"',
        "did you mean 'qos'?",
    ),
    (
        POLICY.replace("server.slots", "server.threads"),
        '$.sweep[0] (policy).points[1].unset."target.server.threads"',
        "is not set",
    ),
    (USERS + ARMS.replace("[16]", "[17]"), "$.arm[1] (b).skip.users[0]", "there is: 1, 4, 16"),
    (USERS + ARMS.replace("users = [16]", "u = [1]"), "$.arm[1] (b).skip.u", "there is: users"),
    (
        USERS.replace("16", "5000")
        + '[[arm]]\nname = "slow"\nset = { "scenario.grace" = "never" }',
        '$.arm[0] (slow).set."scenario.grace"',
        "write",
    ),
    (
        # Right by itself, wrong together with what the arm does.
        USERS.replace('users"\nvalues = [1, 4, 16]', 'stagger"\nvalues = ["0s", "9s"]'),
        "$.sweep[0] (users).values[1]",
        "shorter than scenario.duration",
    ),
    (
        USERS + '[[arm]]\nname = "open"\nset = { "population.chat.arrival.rate" = "1/s" }',
        "$.arm[0] (open)",
        "at point users=1, $.population[0] (chat).arrival.process",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("more", "path", "reason"), WRONG)
def test_wrong(more, path, reason):
    with pytest.raises(ScenarioError) as caught:
        scenario(more)
    assert (caught.value.path, reason in caught.value.reason) == (path, True), (
        caught.value
    )
