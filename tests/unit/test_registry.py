"""Plugins by name: lazily, checked, and never by chance."""

import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace

import pytest
from msgspec import Struct

from djinnload import registry
from djinnload.errors import PluginError, ScenarioError, UnknownName
from djinnload.units import Duration


class Options(Struct):
    pace: Duration = Duration(0)


class Good:
    Options = Options

    def session(self, session): ...


class NoOptions:
    def session(self, session): ...


class NoSession:
    Options = Options


class Server:
    Options = Options

    async def open(self, plan, clock): ...

    async def aclose(self): ...


class Easy(Server):
    async def exchange(self, call): ...


class Fast(Server):
    def submit(self, call, on_reply): ...

    def end_session(self, session_id): ...


class HalfFast(Server):
    def submit(self, call, on_reply): ...


def no_class():
    """Be called, but no class."""


class Point:
    """An entry point of a package that is not installed."""

    def __init__(self, name, value, package="extra", version="1.0"):
        self.name, self.value = name, value
        self.dist = SimpleNamespace(name=package, version=version) if package else None


@pytest.fixture
def installed(monkeypatch):
    """Return a function that makes *points* all that is installed."""
    module = ModuleType("registry_fakes")
    kinds = (Good, NoOptions, NoSession, Easy, Fast, HalfFast, Server, no_class)
    for each in kinds:
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "registry_fakes", module)

    def install(*points):
        monkeypatch.setattr(metadata, "entry_points", lambda *, group: points)
        registry._class.cache_clear()

    yield install
    registry._class.cache_clear()


def find(group, name):
    return registry.find(group, name, path="$.here")


def test_what_ships_is_listed_without_importing_it():
    found = {entry.name: entry for entry in registry.entries(registry.WORKLOADS)}
    assert found["llm"].value == "djinnload.workloads.llm:Llm"
    assert found["llm"].package == "djinnload"
    assert {"djinn", "null"} <= {e.name for e in registry.entries(registry.TARGETS)}


def test_what_ships_is_found():
    assert find(registry.WORKLOADS, "echo").__name__ == "Echo"
    assert find(registry.TARGETS, "djinn").__name__ == "Djinn"


def test_listing_imports_nothing(installed):
    installed(Point("b", "no_such_module:B"), Point("a", "no_such_module:A"))
    assert [e.name for e in registry.entries(registry.WORKLOADS)] == ["a", "b"]
    assert registry.entry(registry.WORKLOADS, "a", path="$").version == "1.0"


def test_an_unknown_name_says_what_there_is(installed):
    installed(Point("llm", "registry_fakes:Good"), Point("echo", "registry_fakes:Good"))
    with pytest.raises(UnknownName) as caught:
        find(registry.WORKLOADS, "lln")
    assert caught.value.path == "$.here"
    for part in (
        "no workload named 'lln'",
        "did you mean 'llm'?",
        "echo, llm",
        "install",
    ):
        assert part in caught.value.reason


def test_two_packages_that_claim_a_name_are_both_named(installed):
    installed(
        Point("llm", "registry_fakes:Good", "one", "1.2"),
        Point("llm", "registry_fakes:Good", "two", "3.4"),
    )
    with pytest.raises(ScenarioError) as caught:
        find(registry.WORKLOADS, "llm")
    assert caught.value.path == "$.here"
    assert "claimed by one 1.2 (registry_fakes:Good) and two 3.4" in caught.value.reason
    assert len(registry.entries(registry.WORKLOADS)) == 2


def test_a_duplicate_harms_only_who_asks_for_it(installed):
    installed(
        Point("llm", "registry_fakes:Good", "one"),
        Point("llm", "registry_fakes:NoSession", "two"),
        Point("echo", "registry_fakes:Good", "one"),
    )
    assert find(registry.WORKLOADS, "echo") is Good


def test_one_package_seen_twice_is_no_duplicate(installed):
    """An editable install and its source may both be on the path."""
    installed(Point("llm", "registry_fakes:Good"), Point("llm", "registry_fakes:Good"))
    assert find(registry.WORKLOADS, "llm") is Good


def test_a_package_without_metadata(installed):
    installed(Point("llm", "registry_fakes:Good", package=None))
    assert registry.entries(registry.WORKLOADS)[0].package == "?"
    assert find(registry.WORKLOADS, "llm") is Good


@pytest.mark.parametrize(
    ("group", "value", "reason"),
    [
        (
            registry.WORKLOADS,
            "no_such_module:X",
            "cannot be imported: ModuleNotFoundError",
        ),
        (registry.WORKLOADS, "registry_fakes:Missing", "cannot be imported: Attribute"),
        (registry.WORKLOADS, "registry_fakes:no_class", "is no class"),
        (registry.WORKLOADS, "registry_fakes:NoOptions", "has no Options"),
        (registry.WORKLOADS, "registry_fakes:NoSession", "has no method session()"),
        (registry.TARGETS, "registry_fakes:Good", "has no method open()"),
        (registry.TARGETS, "registry_fakes:Server", "neither exchange() nor submit()"),
        (
            registry.TARGETS,
            "registry_fakes:HalfFast",
            "neither exchange() nor submit()",
        ),
        (registry.ARRIVALS, "registry_fakes:Good", "has no method offsets()"),
    ],
)
def test_a_plugin_that_is_none(installed, group, value, reason):
    installed(Point("x", value))
    with pytest.raises(PluginError) as caught:
        find(group, "x")
    assert caught.value.plugin == f"{group}: x"
    assert value in caught.value.reason
    assert reason in caught.value.reason


@pytest.mark.parametrize("kind", [Easy, Fast])
def test_both_kinds_of_target(installed, kind):
    installed(Point("x", f"registry_fakes:{kind.__name__}"))
    assert find(registry.TARGETS, "x") is kind


def test_options_are_read_with_units():
    assert registry.options(Good, {"pace": "10ms"}, "$.w").pace == 10_000_000


def test_unknown_options_are_errors_even_if_the_author_forgot():
    with pytest.raises(ScenarioError) as caught:
        registry.options(Good, {"pacee": "10ms"}, "$.population[0] (a).workload")
    assert caught.value.path == "$.population[0] (a).workload.pacee"
    assert "did you mean 'pace'?" in caught.value.reason


def test_wrong_options_are_placed():
    with pytest.raises(ScenarioError) as caught:
        registry.options(Good, {"pace": 10}, "$.w")
    assert caught.value.path == "$.w.pace"


def refuse(error):
    def make(*_):
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ScenarioError("model", "no"), ScenarioError, "$.w.model: no"),
        (ScenarioError("$.model", "no"), ScenarioError, "$.w.model: no"),
        (ValueError("no"), ScenarioError, "$.w: no"),
        (KeyError("k"), PluginError, "g: x: could not be built: KeyError: 'k'"),
        (PluginError("p", "no"), PluginError, "p: no"),
    ],
)
def test_a_plugin_that_cannot_be_made(error, kind, text):
    with pytest.raises(kind) as caught:
        registry.make("g: x", "$.w", refuse(error))
    assert str(caught.value) == text
