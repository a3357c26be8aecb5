"""Bad input of every kind ends in one line that names the culprit, and nothing is lost."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bad_files
import bad_inputs
import bad_methods
import pytest
from bad_inputs import GOOD, Case
from tiny_models import save_tiny_model

from adaptprune.evaluation import catalog, stage
from adaptprune.files.atomic import write_sealed_json
from adaptprune.files.manifest import write_manifest
from adaptprune.models.catalogue import locate

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., tuple[int, str, str]]
    Refuse = Callable[..., None]

CONFIG = Path(__file__).parents[1] / "config"

pytestmark = pytest.mark.usefixtures("forget_registered", "stock_names")


@pytest.fixture
def stock_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make lm-eval's own index, which takes long to be made, one name."""
    monkeypatch.setattr(catalog, "_stock_names", lambda: {"arc_easy": "arc/arc_easy.yaml"})


def content_of(folder: Path) -> dict[str, bytes | None]:
    """Return the bytes of all files under a folder, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def arguments_of(case: Case, here: Path) -> list[str]:
    """Write the files of a case; return its command line with the good options put before."""
    shutil.copytree(CONFIG, here / "config")
    write_earlier_result(here / "result")
    (here / "file-link").symlink_to(here / "out" / "kept.txt")
    for name, content in ({"out/kept.txt": "kept"} | dict(case.files)).items():
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    command, *own = case.line.split(" ", 1)
    line = " ".join([command, GOOD[command], *own])
    places = {"here": here, "out": here / "out", "result": here / "result"}
    if "{cached}" in line or "{link}" in line:
        model = locate("tiny-llama")
        (here / "link").symlink_to(model)
        places |= {"cached": model, "link": here / "link"}
    return shlex.split(line.format(**places))


def write_earlier_result(folder: Path) -> None:
    """Write what a pruning leaves that failed: the least that a command may replace."""
    folder.mkdir()
    write_sealed_json(folder / "kept.json", {"layers": []})
    write_sealed_json(folder / "pruning.json", {"status": "failed", "reason": "not finite"})
    write_manifest(folder)


def assert_one_line(status: int, out: str, err: str, told: str) -> None:
    assert status == 2, err
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if line] == err.splitlines()
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert re.search(told, err), err
    assert out == ""


@pytest.fixture
def refuse(command: Command, tmp_path: Path) -> Refuse:
    """Run a case; check its one line, and that no file was changed, lost or left behind."""

    def run(line: str, told: str, files: dict[str, str | bytes] | None = None) -> None:
        arguments = arguments_of(Case(line, told, files or {}), tmp_path)
        before = content_of(tmp_path)
        assert_one_line(*command(*arguments), told)
        after = content_of(tmp_path)
        assert {name: after.get(name) for name in before} == before
        new = {name.split("/")[0] for name in after.keys() - before.keys()}
        # What is imported is compiled; a training that was begun holds a folder under a lock.
        assert new <= {"__pycache__", "tasks", "result.run", ".result.run.lock"}

    return run


@pytest.mark.parametrize("case", bad_inputs.COMMAND_LINE, ids=lambda case: case.line[:60])
def test_command_line(case: Case, refuse: Refuse) -> None:
    refuse(case.line, re.escape(case.told), case.files)


@pytest.mark.parametrize("case", bad_inputs.OUTPUTS, ids=lambda case: case.line[:60])
def test_nothing_of_the_user_s_is_written_over(case: Case, refuse: Refuse) -> None:
    refuse(case.line, re.escape(case.told), case.files)


def test_a_fetched_model_is_no_result_that_is_replaced(refuse: Refuse, tmp_path: Path) -> None:
    shutil.copytree(locate("tiny-llama-small"), tmp_path / "fetched")
    refuse("prune --output {here}/fetched", "fetched: is no result of `prune` or `recover`")


@pytest.mark.parametrize(("text", "told"), bad_files.PROFILES)
def test_profile(text: str, told: str, refuse: Refuse) -> None:
    extends = "" if text.startswith(("extends", "-")) else "extends: tiny\n"
    refuse("status --profile bad", told, {"config/bad.yaml": f"{extends}{text}\n"})


def test_profile_that_is_no_text(refuse: Refuse) -> None:
    refuse("status --profile bad", "not valid YAML", {"config/bad.yaml": b"\xff\xfe\0"})


@pytest.mark.parametrize(("text", "told"), bad_files.CALIBRATIONS)
def test_calibration_file(text: str | bytes, told: str, refuse: Refuse) -> None:
    line = "prune --calibration {here}/tokens.json"
    refuse(line, rf"tokens\.json.*{re.escape(told)}", {"tokens.json": text})


METHOD = """
from adaptprune.method import Budget, Method, Pruned
from adaptprune.units import KeptUnits, LayerUnits

def kept(layers):
    return KeptUnits(tuple(LayerUnits(heads, neurons) for heads, neurons in layers))

class Mine(Method):
    name, title, version, citation = "mine", "Mine", 1, "-"
    needs_calibration = False

    def prune(self, model, scores, sparsity, context, parameters):
        import torch
        from adaptprune.surgery import shape_of_model

        zeros = torch.zeros(model.config.hidden_size)
        blocks = shape_of_model(model).blocks
        all_units = [
            (tuple(range(block.kv_heads)), tuple(range(block.intermediate_size)))
            for block in blocks
        ]
        {body}

    def budget(self, shape, sparsity, parameters):
        return Budget.exact(shape, shape.blocks)

    {attribute}

SPEC = Mine()
"""


def method_source(body: str = "return Pruned(kept(all_units))", attribute: str = "") -> str:
    return METHOD.replace("{body}", body).replace("{attribute}", attribute)


PRUNE_MINE = "prune --method mine --method-file {here}/mine.py"


@pytest.mark.parametrize(("body", "told"), bad_methods.METHODS)
def test_decision_of_a_method(body: str, told: str, refuse: Refuse) -> None:
    refuse(PRUNE_MINE, f"method 'mine'.*({told})", {"mine.py": method_source(body)})


SCORE = """
    def score(self, *_):
        import torch
        from adaptprune.method import Scores

        tensor = torch.zeros(3)
        {body}
"""


@pytest.mark.parametrize(("body", "told"), bad_methods.SCORES)
def test_scores_of_a_method(body: str, told: str, refuse: Refuse) -> None:
    source = method_source(attribute=SCORE.replace("{body}", body))
    line = "score --method mine --method-file {here}/mine.py"
    refuse(line, f"method 'mine'.*({told})", {"mine.py": source})


@pytest.mark.parametrize("name", bad_methods.ASKED_BY_A_PROFILE)
def test_method_of_a_profile_that_fails_when_it_is_asked(name: str, refuse: Refuse) -> None:
    attribute = f"def {name}(self, *_): raise KeyError('no')"
    line = "status --override methods=mine --override method_file={here}/mine.py"
    told = r"method 'mine' failed: KeyError: 'no' \(mine\.py:\d+\)"
    refuse(line, told, {"mine.py": method_source(attribute=attribute)})


@pytest.mark.parametrize(("attribute", "told"), bad_methods.ATTRIBUTES)
def test_class_of_a_method(attribute: str, told: str, refuse: Refuse) -> None:
    line = "prune --method-file {here}/mine.py --method mine"
    refuse(line, told, {"mine.py": method_source(attribute=attribute)})


@pytest.mark.parametrize(("text", "told"), bad_methods.METHOD_FILES)
def test_file_of_a_method(text: str | bytes, told: str, refuse: Refuse) -> None:
    refuse(PRUNE_MINE, rf"mine\.py.*{re.escape(told)}", {"mine.py": text})


def test_numbers_of_a_method_that_are_not_finite_fail_its_cell_alone(
    command: Command, tmp_path: Path
) -> None:
    """Such a cell is a result like any other: it is recorded, with its reason and no weights."""
    body = "model.model.norm.weight.data[0] = float('nan'); return Pruned(kept(all_units))"
    case = Case(PRUNE_MINE + " --output {here}/new", "", {"mine.py": method_source(body)})
    status, _, err = command(*arguments_of(case, tmp_path))
    assert status == 0, err
    record = json.loads((tmp_path / "new" / "pruning.json").read_text())
    assert (record["status"], record["reason"]) == (
        "failed",
        "the pruned weight model.norm.weight is not finite",
    )
    assert not list((tmp_path / "new").glob("*.safetensors"))
    arguments = ("--model", tmp_path / "new", "--tasks", "tiny_local_place")
    status, _, err = command("evaluate", *arguments, "--output", tmp_path / "e.json")
    assert status == 0, err
    assert json.loads((tmp_path / "e.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(("text", "told"), bad_files.TASKS)
def test_task_file(
    text: str, told: str, refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = "include: tiny_local_place.yaml\ntask: mine\n"
    tasks = tmp_path / "tasks"
    shutil.copytree(catalog.TASK_FOLDER, tasks)
    (tasks / "mine.yaml").write_text(text.format(base=base))
    monkeypatch.setattr(stage, "TASK_FOLDER", tasks)
    refuse("evaluate --tasks mine", told)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a model folder without a manifest, and with a tokenizer."""
    folder = save_tiny_model(tmp_path_factory.mktemp("model"), vocabulary=257)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    source = locate("tiny-llama")
    names = ("tokenizer.json", "tokenizer_config.json")
    return files | {name: (source / name).read_bytes() for name in names}


PRUNE_MODEL = "prune --model {here}/model --method magnitude"


@pytest.mark.parametrize(("changes", "told"), bad_files.CONFIGS)
def test_config_of_a_model(
    changes: dict[str, Any], told: str, refuse: Refuse, model: dict[str, bytes]
) -> None:
    config = json.loads(model["config.json"]) | changes
    config = {key: value for key, value in config.items() if value is not None}
    files = model | {"config.json": json.dumps(config).encode()}
    refuse(PRUNE_MODEL, told, {f"model/{name}": content for name, content in files.items()})


@pytest.mark.parametrize(("name", "content", "told"), bad_files.FILES)
def test_file_of_a_model(
    name: str, content: str | bytes, told: str, refuse: Refuse, model: dict[str, bytes]
) -> None:
    files = model | {name: content if isinstance(content, bytes) else content.encode()}
    evaluate = "evaluate --tasks tiny_local_place --model {here}/model"  # it reads the tokenizer
    line = evaluate if name in ("tokenizer.json", "pruning.json") else PRUNE_MODEL
    refuse(line, told, {f"model/{name}": content for name, content in files.items()})


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_file_that_a_model_lacks(name: str, refuse: Refuse, model: dict[str, bytes]) -> None:
    files = {f"model/{other}": content for other, content in model.items() if other != name}
    refuse(PRUNE_MODEL, rf"model.* holds no {re.escape(name.split('.')[-1])}|{name}", files)


@pytest.mark.parametrize(("text", "told"), bad_files.DECLARATIONS)
def test_declaration_of_a_table(text: str, told: str, refuse: Refuse) -> None:
    refuse("table", rf"table\.yaml.*{told}", {"table.yaml": text})


#: One of each kind, through a process of its own.
THROUGH_A_PROCESS = [
    Case("prune --sparsity 120", "sparsity 120 is outside 1..99"),
    Case("prune --calibration {here}/a.json", "equally long", {"a.json": "[[1, 2], [3]]"}),
    Case("status --profile bad", "not valid YAML", {"config/bad.yaml": "a: [\n"}),
    Case(PRUNE_MINE, "SystemExit", {"mine.py": "raise SystemExit(0)"}),
]


@pytest.mark.parametrize("case", THROUGH_A_PROCESS, ids=lambda case: case.line)
def test_a_process_ends_the_same_way(case: Case, cache: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "adaptprune", *arguments_of(case, tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert_one_line(done.returncode, done.stdout, done.stderr, re.escape(case.told))


def test_there_are_enough_cases() -> None:
    modules = vars(bad_inputs) | vars(bad_methods)
    tables = [value for name, value in modules.items() if name.isupper()]
    assert sum(len(table) for table in tables if isinstance(table, list)) >= 100
