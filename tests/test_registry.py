"""The registry of methods, and what may import what."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

import adaptprune
from adaptprune.cells import split_variant
from adaptprune.errors import UserError, unknown
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Method
from adaptprune.pruning.registry import METHODS as INSTALLED
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(adaptprune.__file__).parent
METHODS = (
    *("adapt-pruner", "dense", "flap", "llm-pruner", "magnitude", "random"),
    *("shortened-llama", "shortgpt", "slicegpt", "sparsegpt", "wanda", "weight-magnitude"),
)


def test_methods_of_this_repository_are_registered() -> None:
    assert set(METHODS) <= set(INSTALLED.installed())
    assert all(INSTALLED.origin(name).startswith("adaptprune ") for name in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_method_is_complete(name: str) -> None:
    method = find_method(name)
    assert method.name == name
    assert method.title
    assert method.citation
    assert method.version >= 1


@pytest.mark.parametrize("name", METHODS)
def test_parameters_are_closed_and_frozen(name: str) -> None:
    parameters = find_method(name).parameters
    assert parameters.model_config["extra"] == "forbid"
    assert parameters.model_config["frozen"]
    assert issubclass(parameters, Parameters)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("flapp", "flap"), ("slice-gpt", "slicegpt"), ("adaptpruner", "adapt-pruner")],
)
def test_misspelt_method_gets_the_nearest_name(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"unknown method '{wrong}'; did you mean '{right}'"):
        find_method(wrong)


def test_name_like_no_other_gets_the_list_alone() -> None:
    message = str(unknown("method", "zzz", ["flap", "dense"]))
    assert message == "unknown method 'zzz' (allowed: dense, flap)"


def test_misspelt_parameter_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="parameter of adapt-pruner 'amplitud'; did you mean 'ampl"):
        find_method("adapt-pruner").parse({"amplitud": 0.1})


@pytest.mark.parametrize(
    ("method", "settings", "complaint"),
    [
        (
            "adapt-pruner",
            {"amplitude": -1},
            "adapt-pruner: amplitude: .*greater than or equal to 0",
        ),
        ("adapt-pruner", {"amplitude": float("nan")}, "amplitude"),
        ("adapt-pruner", {"steps": 0}, "steps"),
        ("adapt-pruner", {"layer_distance": "cosinus"}, "layer_distance: .*'cosine'"),
        ("llm-pruner", {"layer_start": -1}, "layer_start"),
        ("llm-pruner", {"alignment": "wrong"}, "alignment"),
        ("slicegpt", {"round_interval": 0}, "round_interval"),
        ("flap", {"bias_compensation": "perhaps"}, "bias_compensation"),
        ("wanda", {"ties": "random"}, "ties"),
        ("wanda", {"damping": 0.1}, "parameter of wanda 'damping'"),
        ("sparsegpt", {"damping": -1}, "damping"),
        ("sparsegpt", {"block_size": 0}, "block_size"),
        ("sparsegpt", {"factorisation": "bfloat16"}, "factorisation"),
    ],
)
def test_refused_value_is_told_in_one_line(
    method: str, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        find_method(method).parse(settings)
    assert "\n" not in str(error.value)


def test_variant_is_what_follows_the_at_sign() -> None:
    assert split_variant("adapt-pruner@corrected") == ("adapt-pruner", "corrected")
    assert split_variant("adapt-pruner") == ("adapt-pruner", None)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let the registry see given entry points (name, value) and no others."""

    def entries(*points: tuple[str, str]) -> None:
        found = [importlib.metadata.EntryPoint(*point, INSTALLED.group) for point in points]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found)
        INSTALLED.forget()

    yield entries
    monkeypatch.undo()
    INSTALLED.forget()


def test_name_that_is_claimed_twice_is_refused(install: Callable[..., None]) -> None:
    install(("mine", "first:SPEC"), ("mine", "second:SPEC"))
    with pytest.raises(UserError, match="'mine' is claimed twice: first:SPEC and second:SPEC"):
        INSTALLED.installed()


def test_broken_import_names_the_method(install: Callable[..., None]) -> None:
    install(("mine", "no_such_module:SPEC"))
    with pytest.raises(
        UserError, match=r"method 'mine' .* cannot be imported: ModuleNotFoundError"
    ):
        find_method("mine")


def test_broken_method_does_not_disturb_the_others(install: Callable[..., None]) -> None:
    install(("mine", "no_such_module:SPEC"), ("flap", "baselines.flap:SPEC"))
    assert find_method("flap").name == "flap"


@pytest.mark.parametrize("value", ["baselines.flap:FLAP", "baselines.flap:SPEC", "json:dumps"])
def test_entry_point_must_be_a_method_of_its_name(value: str, install: Callable[..., None]) -> None:
    install(("mine", value))
    with pytest.raises(UserError, match="must be a Method instance named 'mine'"):
        find_method("mine")


def test_parameters_of_a_method_cannot_be_changed() -> None:
    parameters = find_method("flap").parse({})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        parameters.bias_compensation = False


def test_method_without_a_score_stage_says_so() -> None:
    class Plain(Method):
        name = "plain"

        def prune(self, *arguments: Any) -> Any: ...

        def budget(self, *arguments: Any) -> Any: ...

    with pytest.raises(UserError, match="plain has no score stage"):
        Plain().score(None, None, None, [20])  # type: ignore[arg-type]


LISTING = """
import sys
import adaptprune
from adaptprune import cells, cli
from adaptprune.data import packing
from adaptprune.models import catalogue, shapes
from adaptprune.papers.adapt_pruner import accel
from adaptprune.pruning import registry, units
from adaptprune.recovery import folder, plan, presets, schedules
from adaptprune.workflow import profiles
from adaptprune.cells import cell_folder

for name in registry.METHODS.installed():
    registry.find_method(name)
for words in (["methods"], ["models"], ["tasks"],
              ["params", "--model", "smollm2-135m", "--method", "flap", "--sparsity", "20"]):
    sys.argv = ["adaptprune", *words]
    cli.main()
print("heavy modules:", sorted({"torch", "transformers", "datasets", "lm_eval"} & set(sys.modules)))
"""


def test_listing_and_counting_import_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTING], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy modules: []"


def imported_modules(source: Path) -> set[str]:
    """Modules that a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_checkpoint_code_stands_alone() -> None:
    roots = {name.split(".")[0] for name in imported_modules(PACKAGE / "modeling.py")}
    assert roots - sys.stdlib_module_names == {"torch", "transformers"}
