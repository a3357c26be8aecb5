"""Which folder may import which: data flows one way, and no two files import each other."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import adaptprune

ROOT = Path(adaptprune.__file__).parents[1]
#: From the ground up. A folder imports only what stands below it, and what stands on its own line
#: only inside itself. Imports inside functions and for typing count too.
LINES = (
    ("errors", "moved"),
    ("cells", "modeling"),
    ("files", "plugins"),
    ("machine",),
    ("models", "results"),
    ("data",),
    ("evaluate", "evaluation", "pruning"),  # evaluate/ holds data: tasks, benchmarks, suites
    ("recovery", "measure", "testing"),
    ("workflow", "baselines"),
    ("tables", "doctor"),
    ("comparison", "figures"),
    ("report",),
    ("papers",),
    ("given",),
    ("api",),
    ("commands",),
    ("cli",),
    ("forkserver",),
    ("__main__",),
)
RANK = {name: rank for rank, line in enumerate(LINES) for name in line}
#: What methods of others may use.
FOR_BASELINES = {"errors", "cells", "modeling", "files", "plugins", "models", "data"}
FOR_BASELINES |= {"pruning", "recovery"}


def modules() -> dict[str, Path]:
    """Return every module of the package and of the baselines, by dotted name."""
    found = {}
    for package in ("adaptprune", "baselines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports() -> dict[str, set[str]]:
    """Return which modules each module imports, anywhere in it."""
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: a relative import"
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= {one if one in known else str(node.module) for one in full}
            elif isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
        graph[name] = (wanted & known.keys()) - {name, "adaptprune"}
    return graph


def place(module: str) -> str:
    """Return the folder or file of the package that a module belongs to."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "adaptprune" and rest else package


def test_the_page_lists_the_places_in_their_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().split("## ")[0]
    lines = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    names = [name for line in lines for name in re.findall(r"`(\w+)`", line)]
    assert {*names, "moved", "evaluate", "forkserver", "__main__"} == RANK.keys()
    assert [RANK[name] for name in names] == sorted(RANK[name] for name in names)


def test_every_module_has_a_place() -> None:
    assert {place(name) for name in modules()} - {"adaptprune"} == RANK.keys()


def test_a_folder_imports_only_what_stands_below_it() -> None:
    upward = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if place(name) != place(other) and RANK[place(other)] >= RANK.get(place(name), 99)
    ]
    assert upward == []


def test_no_files_import_each_other() -> None:
    list(graphlib.TopologicalSorter(imports()).static_order())  # raises CycleError


def test_nobody_imports_a_paper_or_the_baselines() -> None:
    named = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if place(other) in {"papers", "baselines"} and place(name) != place(other)
    ]
    assert named == []


def test_baselines_use_what_methods_are_made_from() -> None:
    used = {
        place(other)
        for name, others in imports().items()
        for other in others
        if place(name) == "baselines"
    }
    assert used <= FOR_BASELINES | {"baselines"}


#: Where attribute paths of models may be written: in the one module that names them, and in the one
#: that is copied beside weights and stands alone.
NAMES_PLACES = {"adaptprune.models.anatomy", "adaptprune.modeling"}
PLACES = {"self_attn", "embed_tokens", "rotary_emb", "input_layernorm", "post_attention_layernorm"}
PLACES |= {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}
HOOKS = {"register_forward_hook", "register_forward_pre_hook"}
#: Exception → why.
ALLOWED = {
    ("adaptprune.evaluation.dense_scores", "model"): "the model that a stored score is of",
    # These stay as long as the model does; ``hooked`` takes its hooks off again.
    ("adaptprune.papers.sparse_trainer.slorb", "register_forward_hook"): "a part of the model",
    ("adaptprune.recovery.distillation", "register_forward_hook"): "a part of the training",
    ("adaptprune.models.mobilellm", "rotary_emb.inv_freq"): "a buffer of old files, in no model",
}


def spelled(node: ast.AST) -> str | None:
    """Return the place of a model that a piece of code spells, None where it spells none."""
    if isinstance(node, ast.Attribute):
        owner = node.value
        inside = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if node.attr in PLACES | HOOKS or (inside, node.attr) == ("model", "model"):
            return node.attr
        if inside == "model" and node.attr in ("layers", "norm", "decoder", "lm_head"):
            return f"model.{node.attr}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
        names = set(re.split(r"[^A-Za-z_]+", node.value))
        if names & (PLACES | {"lm_head"}) or "model.layers" in node.value:
            return node.value
    return None


def test_places_of_a_model_are_named_in_one_module() -> None:
    found = [
        f"{name}:{getattr(node, 'lineno', 0)}: {place}"
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if name not in NAMES_PLACES
        if (place := spelled(node)) and (name, place) not in ALLOWED
    ]
    assert found == []


OLD_IMPORTS = """
import sys
from adaptprune.method import Budget, Context, Method, Parameters, Pruned, Scores, in_one_line
from adaptprune.registry import find_method, split_variant
from adaptprune.shapes import ModelShape
from adaptprune.units import KeptUnits
from adaptprune.pruning import method, units
assert method.Pruned is Pruned and units.KeptUnits is KeptUnits
assert "torch" not in sys.modules
"""


def test_methods_that_were_written_for_the_old_names_find_them() -> None:
    subprocess.run([sys.executable, "-c", OLD_IMPORTS], check=True)
