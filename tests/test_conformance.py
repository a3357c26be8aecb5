"""The conformance kit: the repository's methods hold it, and each kind of mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from adaptprune.errors import UserError
from adaptprune.models.random import OTHERS
from adaptprune.models.shapes import uniform_blocks
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Budget, Method, Pruned, Scores
from adaptprune.pruning.methodfile import load_method_file
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.units import KeptUnits, LayerUnits
from adaptprune.testing import MODELS, ConformanceError, check_method

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGIN = Path(__file__).parent / "plugin" / "my_method.py"
SOURCE = (PLUGIN.parents[1] / "older_method.py").read_text()


pytestmark = pytest.mark.usefixtures("forget_registered")


@pytest.mark.parametrize(
    ("name", "settings", "sparsities"),
    [
        ("adapt-pruner", {"steps": 3, "amplitude": 0.1}, (20, 50, 90)),
        ("llm-pruner", {}, (20, 50, 90)),
        ("flap", {}, (20, 50, 90)),
        ("magnitude", {}, (20, 50, 90)),
        ("random", {}, (20, 50, 90)),
        ("shortened-llama", {"spared_first": 0, "spared_last": 1}, (20, 50, 90)),
        ("shortgpt", {"removal": "iterative"}, (20, 50, 90)),
        ("slicegpt", {"round_interval": 1}, (20, 50)),
        ("sparsegpt", {"block_size": 8}, (20, 50, 90)),
        ("wanda", {}, (20, 50, 90)),
        ("weight-magnitude", {}, (20, 50, 90)),
    ],
)
def test_methods_of_this_repository_conform(
    name: str, settings: dict[str, Any], sparsities: tuple[int, ...]
) -> None:
    rules: list[str] = []
    method = find_method(name)
    check_method(method, settings=settings, sparsities=sparsities, report=rules.append)
    models = len(MODELS) + (0 if method.needs_shape else len(OTHERS))
    assert len(rules) == len(set(rules)) == 4 + 2 * models + 3


def test_the_documented_plug_in_conforms() -> None:
    check_method(load_method_file(PLUGIN))


class Good(Method):
    """Keep the first units of every layer; the mistakes below are made by subclasses."""

    name = "good"
    title = "Good"
    version = 1
    citation = "-"

    def prune(self, model: Any, scores: Any, sparsity: int, *rest: Any) -> Any:
        from adaptprune.models.sizes import shape_of_model

        blocks = self._blocks(shape_of_model(model), sparsity)
        return Pruned(KeptUnits(tuple(self.units(block, sparsity) for block in blocks)))

    def units(self, block: Any, sparsity: int) -> LayerUnits:
        return LayerUnits(tuple(range(block.kv_heads)), tuple(range(block.intermediate_size)))

    def budget(self, shape: Any, sparsity: int, parameters: Any) -> Budget:
        return Budget.exact(shape, self._blocks(shape, sparsity))

    def _blocks(self, shape: Any, sparsity: int) -> Any:
        return uniform_blocks(shape, sparsity / 100, range(len(shape.blocks)))


def test_a_plain_method_conforms() -> None:
    check_method(Good())


class Untitled(Good):
    title = ""


class Versionless(Good):
    version = 0


class Tolerant(Parameters):
    model_config = pydantic.ConfigDict(extra="ignore")


class OpenParameters(Good):
    parameters = Tolerant

    def parse(self, settings: dict[str, Any]) -> Any:
        return self.parameters(**settings)


class AnySparsity(Good):
    def check(self, sparsity: int, parameters: Any) -> None:
        pass


class Raises(Good):
    def prune(self, *arguments: Any) -> Any:
        return {}["no such key"]


class ReturnsNothing(Good):
    def prune(self, *arguments: Any) -> Any:
        return None


class OutOfRange(Good):
    def units(self, block: Any, sparsity: int) -> LayerUnits:
        return LayerUnits((block.kv_heads + 7,), tuple(range(block.intermediate_size)))


class Duplicates(Good):
    def units(self, block: Any, sparsity: int) -> LayerUnits:
        return LayerUnits(tuple(range(block.kv_heads)), (0,) * block.intermediate_size)


class Unsorted(Good):
    def units(self, block: Any, sparsity: int) -> LayerUnits:
        return LayerUnits(
            tuple(range(block.kv_heads)), tuple(reversed(range(block.intermediate_size)))
        )


class Floats(Good):
    def units(self, block: Any, sparsity: int) -> LayerUnits:
        return LayerUnits((0.0,), tuple(range(block.intermediate_size)))  # type: ignore[arg-type]


class Nothing(Good):
    def units(self, block: Any, sparsity: int) -> LayerUnits:
        return LayerUnits(tuple(range(block.kv_heads)), ())


class TooFewLayers(Good):
    def prune(self, *arguments: Any) -> Any:
        return Pruned(KeptUnits((LayerUnits((0,), (0,)),)))


class WrongBudget(Good):
    def budget(self, shape: Any, sparsity: int, parameters: Any) -> Budget:
        return Budget.exact(shape, shape.blocks)


class NotANumber(Good):
    def prune(self, model: Any, *arguments: Any) -> Any:
        import torch

        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight[0] = float("nan")
        return super().prune(model, *arguments)


class WrongBias(Good):
    def prune(self, *arguments: Any) -> Any:
        import torch

        pruned = super().prune(*arguments)
        pruned.biases = {0: (torch.zeros(3), torch.zeros(3))}
        return pruned


class OtherVocabulary(Good):
    def prune(self, model: Any, *arguments: Any) -> Any:
        pruned = super().prune(model, *arguments)
        model.resize_token_embeddings(30)
        return pruned


class NotCut(Good):
    def prune(self, *arguments: Any) -> Any:
        pruned = super().prune(*arguments)
        pruned.already_cut = True
        return pruned


class NotJson(Good):
    def prune(self, *arguments: Any) -> Any:
        pruned = super().prune(*arguments)
        pruned.steps = [{"set": {1}}]
        return pruned


class ByChance(Good):
    def units(self, block: Any, sparsity: int) -> LayerUnits:
        import torch

        last = block.intermediate_size - 1 + int(torch.randint(1000, ())) % 2
        return LayerUnits(tuple(range(block.kv_heads)), (*range(block.intermediate_size - 1), last))


class NanScores(Good):
    def shares_scores(self, parameters: Any) -> bool:
        return True

    def score(self, *arguments: Any) -> Scores:
        import torch

        return Scores({"0.mlp": torch.tensor([float("nan")])})


class OtherFromScores(NanScores):
    def score(self, *arguments: Any) -> Scores:
        import torch

        return Scores({"last": torch.ones(1)})

    def prune(self, model: Any, scores: Any, sparsity: int, *rest: Any) -> Any:
        pruned = super().prune(model, scores, sparsity, *rest)
        if scores is None:
            return pruned
        from adaptprune.models.sizes import shape_of_model

        size = shape_of_model(model).blocks[0].intermediate_size
        layers = [
            LayerUnits(layer.kv_heads, (*layer.mlp[:-1], size - 1)) for layer in pruned.kept.layers
        ]
        return Pruned(KeptUnits(tuple(layers)))


class DropLayers(Good):
    """Keep the first layers: a finished model, not units."""

    def prune(self, model: Any, scores: Any, sparsity: int, *rest: Any) -> Any:
        count = self._count(len(model.model.layers), sparsity)
        model.model.layers = model.model.layers[:count]
        self.describe(model.config, count)
        return Pruned(model=model)

    def describe(self, config: Any, count: int) -> None:
        config.num_hidden_layers = count
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:count]

    def budget(self, shape: Any, sparsity: int, parameters: Any) -> Budget:
        count = self._count(len(shape.blocks), sparsity)
        size = shape.with_blocks(list(shape.blocks[:count])).parameters
        return Budget(size, size)

    def _count(self, layers: int, sparsity: int) -> int:
        return max(1, layers * (100 - sparsity) // 100)


class StaleLayerTypes(DropLayers):
    def describe(self, config: Any, count: int) -> None:
        config.num_hidden_layers = count


class StaleConfig(DropLayers):
    def describe(self, config: Any, count: int) -> None:
        pass


class WrongWidth(DropLayers):
    def prune(self, *arguments: Any) -> Any:
        pruned = super().prune(*arguments)
        pruned.width = 3
        return pruned


class OtherConfig(DropLayers):
    """The weights are those of the outcome, but the config computes something else with them."""

    def describe(self, config: Any, count: int) -> None:
        super().describe(config, count)
        config.rms_norm_eps = 0.5


def test_a_depth_pruner_conforms() -> None:
    check_method(DropLayers())


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (StaleLayerTypes, "'its outcomes load in a fresh process': qwen2 tied: .*does not load"),
        (StaleConfig, "the pruned model: its checkpoint does not load: model.layers.1"),
        (OtherConfig, "'its outcomes load in a fresh process': .*: logits differ by"),
        (WrongWidth, "is 16 wide; its width is said to be 3"),
        (Untitled, "title must be a non-empty str, not ''"),
        (Versionless, "version must be a non-empty int, not 0"),
        (OpenParameters, "'refuses unknown parameters': no_such_parameter=1 is taken"),
        (AnySparsity, "a sparsity of -20 % is taken"),
        (Raises, r"at 20 %: method 'good' failed: KeyError: 'no such key' \(test_conformance.py:"),
        (ReturnsNothing, "prune must return Pruned, not NoneType"),
        (OutOfRange, r"kept kv_heads of layer 0 must be sorted, unique and in 0\.\.1"),
        (Duplicates, r"kept mlp of layer 0 must be sorted, unique and in 0\.\.11"),
        (Unsorted, "kept mlp of layer 0 must be sorted"),
        (Floats, r"kept kv_heads of layer 0 must be whole numbers \(int\)"),
        (Nothing, "kept units of layer 0 hold no mlp; one must stay"),
        (TooFewLayers, "list 1 layers, the model has 2"),
        (WrongBudget, r"\d+ parameters remain; its budget says \d+ to \d+"),
        (NotANumber, "weight model.layers.0.mlp.up_proj.weight is not finite"),
        (WrongBias, r"a bias of layer 0 has shape \(3,\), not \(16,\)"),
        (OtherVocabulary, r"a vocabulary of 30 \(embedding\); it must stay 40"),
        (NotCut, "other layer sizes than its kept units say"),
        (NotJson, "steps and notes must be JSON values"),
        (ByChance, "decides the same twice: .* a second run with the same seed has another outcom"),
        (NanScores, "'decides the same from stored scores': the score 0.mlp is not finite"),
        (OtherFromScores, "stored scores give another outcome at 50 %"),
    ],
)
def test_a_mistake_ends_in_one_line_that_names_the_rule(kind: Any, complaint: str) -> None:
    with pytest.raises(ConformanceError, match=complaint) as error:
        check_method(kind())
    assert str(error.value).startswith("method 'good' breaks the rule '")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (None, "no such file"),
        ("SPEC = 3", "must define SPEC, an instance of a Method class"),
        ("def broken(:", "cannot be imported: SyntaxError"),
        ("import no_such_package", "cannot be imported: ModuleNotFoundError"),
        (SOURCE.replace('name = "mine"', 'name = "my method"'), "name 'my method'"),
        (
            SOURCE.replace('name = "mine"', 'name = "flap"'),
            "'flap' is a method of adap",
        ),
        (
            SOURCE.replace("    def budget", "    def bugdet"),
            "abstract method '?budget",
        ),
    ],
)
def test_a_file_without_a_method_is_refused(
    tmp_path: Path, source: str | None, complaint: str
) -> None:
    path = tmp_path / "my_method.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(UserError, match=complaint) as error:
        load_method_file(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_two_files_cannot_claim_one_name(tmp_path: Path) -> None:
    load_method_file(PLUGIN)
    assert load_method_file(PLUGIN) is find_method("mine")
    (tmp_path / "copy.py").write_text(PLUGIN.read_text())
    with pytest.raises(UserError, match="method 'mine' is claimed twice"):
        load_method_file(tmp_path / "copy.py")


def test_torch_at_module_level_is_found(tmp_path: Path) -> None:
    path = tmp_path / "eager.py"
    path.write_text(SOURCE.replace("from functools", "import torch\nfrom functools", 1))
    with pytest.raises(ConformanceError, match=r"eager\.py:3 imports torch when the methods are"):
        check_method(load_method_file(path))


def test_the_command_checks_a_file_and_a_name(command: Callable[..., Any]) -> None:
    status, output, errors = command("check-method", "--file", PLUGIN)
    assert status == 0, errors
    lines = output.splitlines()
    assert lines[0] == "ok  has a name, title, version and citation"
    assert lines[-1] == f"mine version 1 holds all {len(lines) - 1} rules"
    status, output, errors = command("check-method", "--method", "magnitude", "--sparsities", 30)
    assert (status, output.splitlines()[-1].split(" holds")[0]) == (0, "magnitude version 1")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --method NAME or --method-file FILE.py"),
        (["--method", "flapp"], "did you mean 'flap'"),
        (["--method", "flap", "--sparsities", "a"], "must be whole numbers"),
        (["--method", "flap", "--set", "powr=1"], "unknown parameter of flap 'powr'"),
        (["--method", "flap", "--file", PLUGIN], "the method of .* is called 'mine'"),
    ],
)
def test_wrong_input_to_the_command_is_one_line(
    command: Callable[..., Any], arguments: list[Any], complaint: str
) -> None:
    import re

    status, _, errors = command("check-method", *arguments)
    assert status == 2
    assert re.search(complaint, errors)
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
