"""What the documents say, held against the source: links, TOML, signatures, codes."""

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import djinnload
from djinnload import sample, units
from djinnload.describe import describe
from djinnload.health import cell as health
from djinnload.health import generator as health_generator
from djinnload.health import load as health_load
from djinnload.health import run as health_run
from djinnload.scenarios import (
    behaviours,
    experiment,
    network,
    population,
    schema,
)
from djinnload.server import settings

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(djinnload.__file__).parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def section(text, title):
    """The text under a heading, up to the next of the same level."""
    level = title.partition(" ")[0]
    return text.partition(f"{title}\n")[2].partition(f"\n{level} ")[0]


def first_cells(text):
    """The first column of the tables in *text*, headings left out."""
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [row for row in rows if row.startswith("`")]


def named(cells):
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def scenarios():
    return [
        pytest.param(block, id=f"{path.name}-{number}")
        for path in DOCUMENTS
        for number, block in enumerate(blocks(path.read_text(encoding="utf-8"), "toml"))
        if re.search(r"^\[scenario\]$", block, re.MULTILINE)
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_resolve(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    relative = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in relative if not (path.parent / link).exists()] == []


def test_there_are_scenarios_to_test():
    assert {param.id for param in scenarios()} >= {"README.md-0", "scenario.md-0"}


@pytest.mark.parametrize("text", scenarios())
def test_a_scenario_in_a_document_passes_check(text, tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    assert describe(djinnload.load(path)).cells


def signatures():
    """(file, signature) of the table in the architecture, as written there."""
    found = []
    for line in read("docs/architecture.md").splitlines():
        # A type's | is written \| in a table.
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) == 5 and cells[3].endswith(".py"):
            spans = re.findall(r"`([^`]+)`", cells[2].replace("\\|", "|"))
            found += [(cells[3], span) for span in spans if "(" in span]
    return found


def arguments(function):
    """name → (kind, annotation, default) of a function's AST, and what it returns."""
    every = function.args
    plain = [*every.posonlyargs, *every.args]
    defaults = [None] * (len(plain) - len(every.defaults)) + every.defaults
    taken = [("plain", *two) for two in zip(plain, defaults, strict=True)]
    taken += [
        ("keyword", *two)
        for two in zip(every.kwonlyargs, every.kw_defaults, strict=True)
    ]
    made = {
        each.arg: (kind, written(each.annotation), written(default))
        for kind, each, default in taken
        if each.arg != "self"
    }
    return made, written(function.returns)


def written(node):
    if node is None:
        return None
    # Quotes only say when an annotation is evaluated.
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.unparse(ast.parse(node.value, mode="eval"))
        except SyntaxError:
            return node.value
    return ast.unparse(node)


def function_of(text):
    return ast.parse(textwrap.dedent(text)).body[0]


@pytest.mark.parametrize(
    ("file", "text"), signatures(), ids=lambda value: value.partition("(")[0]
)
def test_a_signature_in_the_architecture_is_the_source_s(file, text):
    name = text.partition("(")[0]
    module = importlib.import_module(f"djinnload.{file[:-3].replace('/', '.')}")
    found = module
    for part in name.split("."):
        found = getattr(found, part)
    made = isinstance(found, type)
    source = function_of(inspect.getsource(found.__init__ if made else found))
    head = text.replace(name, "f", 1).replace("= …", "= ...")
    said, returns = arguments(function_of(f"def {head}: ..."))
    real, real_returns = arguments(source)
    left_out = {each for each, (*_, default) in said.items() if default == "..."}
    plain = {each: value[:2] for each, value in said.items()}
    assert list(said) == list(real)
    assert plain == {each: value[:2] for each, value in real.items()}
    for each in said.keys() - left_out:
        assert said[each][2] == real[each][2]
    assert returns == (None if made else real_returns)
    assert name.partition(".")[0] in module.__all__


def test_the_architecture_has_every_module_and_fits_a_page():
    text = read("docs/architecture.md")
    parts = [p for p in SOURCE.iterdir() if not p.name.startswith("_")]
    modules = [p.stem for p in parts if p.suffix == ".py"]
    folders = [f"{p.name}/" for p in parts if (p / "__init__.py").exists()]
    assert [n for n in (*modules, *folders) if f"`{n}`" not in text] == []
    assert len(text.splitlines()) <= 60


def calls(name):
    """First arguments, if they are text, of every call of *name* in the source."""
    return {
        node.args[0].value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == name
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def test_void_codes_are_the_source_s():
    said = named(
        first_cells(section(read("docs/verdicts.md"), "## What makes a run void"))
    )
    real = calls("void") | {djinnload.objective.UNDECIDED}
    assert sorted(said) == sorted(real)
    assert {rule.code for rule in health.RULES if rule.code.isupper()} <= real


def test_codes_of_findings_are_the_source_s():
    said = set(named(first_cells(section(read("docs/verdicts.md"), "## Findings"))))
    # Two are handed on by a helper, one is of a missed objective.
    assert said == calls("note") | {
        "loop-stall",
        "gc-pause",
        djinnload.objective.FAILED,
    }


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        (
            "LATE",
            [
                f"{health.LATE_FLOOR_NS // units.US} µs",
                f"{health.LATE_SHARE_OF_SERVICE:.0%}",
                f"{health.LATE_WITHOUT_OBJECTIVES:.0%}",
            ],
        ),
        (
            "UNDELIVERED",
            [
                f"{health.DELIVERED_SHARE:.0%}",
                f"{health.DELIVERED_WITHIN_NS // units.SECOND} s",
            ],
        ),
        (
            "LOOP_STALL",
            [
                f"{health_generator.STALL_NS // units.MS} ms",
                f"{health_generator.STALL_SHARE:.0%}",
                f"{health_generator.TICK_NS // units.MS} ms",
            ],
        ),
        ("CPU", [f"{health_generator.CPU_SHARE:.0%}"]),
        ("CALIBRATION", [f"{health_run.CALIBRATION_SHARE:.0%}"]),
        ("NO_CONTENTION", [f"{health_run.CONTENDED} ×"]),
        (
            "saturated",
            [
                f"{health_load.TREND_P}",
                f"{health_load.TREND_SHARE:.0%}",
                f"{health_load.TREND_BATCHES} batch",
                f"{health_load.QUEUE_TURNS:.0f} turns",
                f"{health_load.QUEUE_S} s",
            ],
        ),
        (
            "ARRIVALS",
            [
                f"{health_load.ARRIVALS_DISTANCE:.2f}",
                f"{health_load.ARRIVALS_LEAST} sent",
                f"{health_load.ARRIVALS_ALIKE_NS // units.US} µs",
                f"{health_load.ARRIVALS_ALIKE_SHARE:.0%}",
            ],
        ),
        (
            "NOT_STEADY",
            [
                f"{health_load.STEADY_P}",
                f"{health_load.TREND_SHARE:.0%}",
                f"{health_load.TREND_BATCHES} batch",
                f"{health_load.STEADY_LEAST} turns",
            ],
        ),
        (
            "LITTLE",
            [
                f"{health_load.LITTLE_SHARE:.0%}",
                f"{health_load.LITTLE_ERRORS:.0f} standard errors",
                f"{health_load.LITTLE_FLIGHTS}",
                f"{health_load.LITTLE_LEAST:,}",
                f"{health_load.LITTLE_SAMPLES} such",
            ],
        ),
        ("loop-stall", [f"{health_generator.LONG_STALL_NS // units.MS} ms"]),
    ],
)
def test_thresholds_in_the_document_are_the_source_s(code, texts):
    lines = read("docs/verdicts.md").splitlines()
    row = next(line for line in lines if line.startswith(f"| `{code}`"))
    assert [text for text in texts if text.replace("%", " %") not in row] == []


def structs():
    return [
        schema.Run,
        schema.Calibrate,
        schema.Target,
        schema.Server,
        schema.Launch,
        population.Population,
        schema.Sweep,
        schema.NamedPoint,
        schema.Arm,
        behaviours.Behaviours,
        network.Network,
        schema.Comparison,
        experiment.Claim,
        schema.Verify,
        schema.Probes,
        schema.Search,
        population.Lognormal,
        population.Uniform,
        population.UserRamp,
        population.UserStage,
    ]


EXPERIMENTS = ("2.1", "2.2", "2.3", "3.1", "3.2", "4.1", "4.2", "5.1", "6.1")
ASKED = (
    "Question.", "Work.", "Arms.", "Measured", "Passes when", "What was wrong before.",
    "Limits.",
)  # fmt: skip


def test_each_experiment_has_a_page():
    pages = sorted(path.stem for path in (ROOT / "docs/experiments").glob("*.md"))
    assert pages == sorted(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_page_of_an_experiment_answers_all_that_is_asked(name):
    text = read(f"docs/experiments/{name}.md")
    assert [each for each in ASKED if f"\n**{each}" not in text] == []
    number = f"exp{name.replace('.', '_')}"
    assert re.search(rf"{number}\w*_smoke", text)


@pytest.mark.parametrize("kind", structs(), ids=lambda kind: kind.__name__)
def test_every_key_of_the_grammar_is_documented(kind):
    text = read("docs/scenario.md")
    keys = set(re.findall(r"[`.{ ]([a-z_]+)(?:`| =)", text))
    assert [key for key in kind.__struct_encode_fields__ if key not in keys] == []


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("## `[scenario]`", schema.Run),
        ("## `[calibrate]`", schema.Calibrate),
        ("## `[[population]]`", population.Population),
    ],
    ids=["scenario", "calibrate", "population"],
)
def test_a_table_of_keys_has_those_of_the_grammar_alone(title, kind):
    keys = named(first_cells(section(read("docs/scenario.md"), title)))
    assert keys == list(kind.__struct_encode_fields__)


def test_every_metric_of_objectives_is_documented():
    text = section(read("docs/scenario.md"), "## Objectives")
    assert [m for m in djinnload.objective.METRICS if f"`{m}`" not in text] == []


def test_every_sample_column_is_documented_and_no_other():
    text = section(read("docs/results.md"), "## Sample columns")
    assert sorted(named(first_cells(text))) == sorted(sample.schema().names)


def test_every_variable_of_the_server_is_documented_and_no_other():
    said = named(first_cells(read("docs/server.md")))
    real = [field.variable for field in settings._FIELDS.values()]
    assert sorted(said) == sorted([*real, "GENIE_ENABLE_QOS"])


def test_defaults_of_the_server_are_as_documented():
    rows = read("docs/server.md").splitlines()
    defaults = settings.Settings().environment()
    # Bytes are written in GiB there, and the delay without a fraction.
    for name in ("HOST", "POLICY", "ADMISSION_LIMIT", "QUEUE_LIMIT", "NICE", "DEVICE"):
        variable = f"DJINNLOAD_SERVER_{name}"
        row = next(line for line in rows if line.startswith(f"| `{variable}`"))
        assert defaults[variable] in row.split("|")[3]


def test_python_in_the_readme_compiles_and_names_what_there_is():
    (block,) = blocks(read("README.md"), "python")
    compile(block, "README.md", "exec")
    for name in re.findall(r"djinnload\.(\w+)", block):
        assert name in djinnload.__all__
    for name in re.findall(r"result\.(\w+)", block):
        assert hasattr(djinnload.Result, name)


def test_exit_codes_in_the_readme_are_the_command_s():
    rows = re.findall(r"^\| (\d+) \|", read("README.md"), re.MULTILINE)
    assert rows == ["130", "2", "3", "4", "1", "0"]


def test_every_dependency_has_its_line_in_the_readme():
    import tomllib

    project = tomllib.loads(read("pyproject.toml"))
    wanted = [*project["project"]["dependencies"]]
    wanted += project["project"]["optional-dependencies"]["models"]
    text = section(read("README.md"), "## Dependencies")
    names = [re.match(r"[\w-]+", each)[0] for each in wanted]
    assert [name for name in names if name not in text] == []
