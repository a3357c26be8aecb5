"""Profiles: closed keys, small overrides, refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from adaptprune.cells import Cell, cell_folder, grid, possible_slugs, slug
from adaptprune.errors import UserError
from adaptprune.pruning.registry import find_method
from adaptprune.workflow.profiles import load_profile, profile_names, settings_hash

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = Path(__file__).parents[1] / "config"

BASE: dict[str, Any] = {
    "title": "example",
    "models": ["tiny-llama"],
    "methods": ["dense", "flap", "adapt-pruner"],
    "sparsities": [20, 40],
    "seeds": [0, 1],
    "settings": {"adapt-pruner": {"parameters": {"step_size": 10, "amplitude": 0.05}}},
    "calibration": {"dataset": "tiny-prose", "sequences": 8, "length": 32},
    "evaluation": {"suite": "commonsense-tiny"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write profiles into a config folder."""

    def write(**profiles: Any) -> Path:
        for name, content in {"base": BASE, **profiles}.items():
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize("name", profile_names(CONFIG))
def test_profile_of_this_repository_loads(name: str) -> None:
    profile = load_profile(CONFIG, name)
    assert profile.cells()
    assert profile.title.startswith(name)


def test_expected_profiles_are_there() -> None:
    assert {"tiny", "mini", "offline", "small", "paper", "smoke"} <= set(profile_names(CONFIG))


def test_paper_profile_quotes_the_paper() -> None:
    profile = load_profile(CONFIG, "paper")
    assert profile.models == [
        "meta-llama/Llama-3.1-8B",
        "meta-llama/Llama-3.2-3B",
        "meta-llama/Llama-3.2-1B",
    ]
    assert (profile.calibration.sequences, profile.calibration.length) == (512, 64)
    assert (profile.dtype, profile.evaluation.batch) == ("bfloat16", "auto")
    assert profile.settings_of("adapt-pruner").parameters == {"step_size": 1, "amplitude": 0.02}


def test_mini_profile_has_table_1_on_the_offline_model() -> None:
    profile = load_profile(CONFIG, "mini")
    assert profile.models == ["smollm2-135m"]
    assert profile.methods == ["dense", "adapt-pruner", "llm-pruner", "flap", "slicegpt"]
    assert (profile.sparsities, profile.seeds) == ([20, 40, 60], [0, 1, 2])


def test_child_lies_over_its_parent_key_by_key(folder: Callable[..., Path]) -> None:
    child = {"extends": "base", "calibration": {"length": 16}, "sparsities": [60]}
    profile = load_profile(folder(child=child), "child")
    assert (profile.calibration.sequences, profile.calibration.length) == (8, 16)
    assert profile.sparsities == [60]


def test_command_line_overrides_replace_lists(folder: Callable[..., Path]) -> None:
    profile = load_profile(folder(), "base", {"methods": "flap, dense", "seeds": [3]})
    assert profile.methods == ["flap", "dense"]
    assert profile.seeds == [3]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"sparsity": [20]},
            "config key in config/child.yaml 'sparsity'; did you mean 'sparsities'",
        ),
        ({"models": ["tiny-lama"]}, "unknown model 'tiny-lama'; did you mean 'tiny-llama'"),
        ({"methods": ["flip"]}, "unknown method 'flip'; did you mean 'flap'"),
        ({"methods": ["flap@corrected"]}, "unknown variant 'flap@corrected'"),
        ({"settings": {"flop": {}}}, "unknown method 'flop'"),
        ({"settings": {"flap": {"parameters": {"head_costs": 1}}}}, "did you mean 'head_cost'"),
        ({"settings": {"flap": {"parameter": {}}}}, r"settings\.flap\.parameter"),
        ({"sparsities": [0]}, r"sparsity 0 is outside 1\.\.99"),
        ({"sparsities": [100]}, r"sparsity 100 is outside 1\.\.99"),
        ({"sparsities": [15]}, "step_size 10 does not divide sparsity 15"),
        ({"sparsities": [20, 20]}, "sparsities lists an entry twice"),
        ({"seeds": []}, "seeds"),
        ({"calibration": {"dataset": "tiny-pros"}}, "did you mean 'tiny-prose'"),
        ({"calibration": {"sequences": 0}}, r"calibration\.sequences"),
        ({"evaluation": {"suite": "commonsense-tin"}}, "did you mean 'commonsense-tiny'"),
        ({"evaluation": {"limit": 3}}, r"evaluation\.limit"),
        ({"dtype": "int8"}, "dtype"),
        ({"threads": 0}, "threads"),
    ],
)
def test_wrong_entry_is_refused_in_one_line(
    change: dict[str, Any], complaint: str, folder: Callable[..., Path]
) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        load_profile(folder(child={"extends": "base", **change}), "child")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["title: [", "- a list", "42", ""])
def test_file_that_is_no_mapping_is_refused_in_one_line(
    text: str, folder: Callable[..., Path]
) -> None:
    with pytest.raises(UserError, match=r"child\.yaml") as error:
        load_profile(folder(child=text), "child")
    assert "\n" not in str(error.value)


def test_unknown_profile_gets_the_nearest_name(folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="unknown profile 'smal'; did you mean 'small'"):
        load_profile(folder(small={"extends": "base"}), "smal")


def test_unknown_parent_is_refused(folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="unknown profile 'bas'"):
        load_profile(folder(child={"extends": "bas"}), "child")


def test_circle_of_profiles_is_refused(folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="extends itself"):
        load_profile(folder(a={"extends": "b"}, b={"extends": "a"}), "a")


def test_other_keys_cannot_be_overridden(folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="unknown config key 'dtype'"):
        load_profile(folder(), "base", {"dtype": "bfloat16"})


@pytest.mark.parametrize("value", ["20,x", "20.5", ""])
def test_override_of_numbers_must_be_numbers(value: str, folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="sparsities must be whole numbers"):
        load_profile(folder(), "base", {"sparsities": value})


def test_variant_has_settings_of_its_own(folder: Callable[..., Path]) -> None:
    variant = {
        "parameters": {"head_cost": "corrected"},
        "calibration": {"dataset": "tiny-prose", "sequences": 4, "length": 16},
    }
    content = {"extends": "base", "settings": {"flap@corrected": variant}}
    content["methods"] = ["flap", "flap@corrected"]
    profile = load_profile(folder(child=content), "child")
    assert profile.settings_of("flap").parameters == {}
    assert profile.settings_of("flap@corrected").parameters == {"head_cost": "corrected"}
    assert profile.calibration_of("flap@corrected").slug == "tiny-prose-4x16"
    assert profile.calibration_of("flap").slug == "tiny-prose-8x32"


def test_variant_lies_over_its_plain_method(folder: Callable[..., Path]) -> None:
    calibration = {"dataset": "tiny-prose", "sequences": 4, "length": 16}
    settings = {
        "adapt-pruner": {"calibration": calibration},
        "adapt-pruner@gentle": {"parameters": {"amplitude": 0.01}},
        "adapt-pruner@few": {"parameters": {"step_size": None, "steps": 2}},
    }
    profile = load_profile(folder(child={"extends": "base", "settings": settings}), "child")
    gentle, few = (profile.settings_of(f"adapt-pruner@{name}") for name in ("gentle", "few"))
    assert gentle.parameters == {"step_size": 10, "amplitude": 0.01}
    assert few.parameters == {"steps": 2, "amplitude": 0.05}
    assert profile.calibration_of("adapt-pruner@gentle").slug == "tiny-prose-4x16"


def test_declared_variants_join_the_methods_that_are_run(folder: Callable[..., Path]) -> None:
    settings = {"flap@corrected": {}, "slicegpt@corrected": {}}
    profile = load_profile(folder(child={"extends": "base", "settings": settings}), "child")
    declared = ["dense", "flap", "flap@corrected", "slicegpt", "slicegpt@corrected"]
    widened = profile.with_variants(declared)
    assert widened.methods == ["dense", "flap", "adapt-pruner", "flap@corrected"]
    assert set(widened.cells()) > set(profile.cells())
    assert profile.methods == ["dense", "flap", "adapt-pruner"]


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        (None, "unknown variant 'adapt-pruner@few'"),
        ({"step_size": 15}, "step_size 15 does not divide sparsity 20"),
    ],
)
def test_declared_variant_that_cannot_run_is_refused(
    parameters: dict[str, Any] | None, complaint: str, folder: Callable[..., Path]
) -> None:
    settings = {} if parameters is None else {"adapt-pruner@few": {"parameters": parameters}}
    profile = load_profile(folder(child={"extends": "base", "settings": settings}), "child")
    with pytest.raises(UserError, match=complaint):
        profile.with_variants(["adapt-pruner@few"])


@pytest.mark.parametrize("name", profile_names(CONFIG))
def test_corrected_variants_mend_every_quirk_and_nothing_else(name: str) -> None:
    profile = load_profile(CONFIG, name)
    for method in ("adapt-pruner", "llm-pruner", "flap", "slicegpt"):
        parse = find_method(method).parse
        plain = parse(profile.settings_of(method).parameters).model_dump()
        mended = parse(profile.settings_of(f"{method}@corrected").parameters).model_dump()
        quirks = [key for key, value in plain.items() if value in ("official", "corrected")]
        assert quirks
        assert mended == plain | dict.fromkeys(quirks, "corrected")


def test_matrix_has_dense_once_per_model() -> None:
    cells = grid(["a", "b"], ["dense", "flap"], [20, 40], [5, 6])
    assert cells.count(Cell("a", "dense", 0, "none", 5)) == 1
    assert len(cells) == 2 * (1 + 4)
    assert len(set(cells)) == len(cells)


def test_cells_of_some_methods_only(folder: Callable[..., Path]) -> None:
    profile = load_profile(folder(), "base")
    assert {cell.method for cell in profile.cells(["flap"])} == {"flap"}


def test_cell_lies_under_its_key() -> None:
    cell = Cell("org/model", "flap@corrected", 20, "none", 3)
    expected = Path("runs/mini/cells/org__model/flap@corrected/20/none/s3")
    assert cell_folder(Path("runs"), "mini", cell) == expected


@pytest.fixture
def model_folders(tmp_path: Path) -> Path:
    """A folder that holds two models of one name, and one with a blank in its name."""
    for name in ("a/m", "b/m", "c/my model"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("model", [".", "../m", "../../b/m", "./", "~/a/m", "~/a/../a/m/"])
def test_model_folder_goes_by_its_own_name(
    model: str, model_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_folders / "a" / "m")
    monkeypatch.setenv("HOME", str(model_folders))
    assert slug(model) == "m"
    assert "m" in possible_slugs(model)
    assert Cell(model, "flap", 20, "none", 3).key == "m/flap/20/none/s3"


def test_model_folders_that_would_share_a_folder_are_refused(
    model_folders: Path, folder: Callable[..., Path]
) -> None:
    models = [f"{model_folders}/a/m", f"{model_folders}/b/m"]
    with pytest.raises(UserError, match=r"a/m and .*b/m would share the folder 'm'"):
        load_profile(folder(), "base", {"models": models})
    for model in models:
        assert load_profile(folder(), "base", {"models": [model]}).models == [model]


def test_present_folder_with_a_blank_in_its_name_is_refused(
    model_folders: Path, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_folders / "c" / "my model")
    with pytest.raises(UserError, match="'my model' has a blank"):
        load_profile(folder(), "base", {"models": "."})


@pytest.mark.parametrize("name", ["../base", "a b", ".hidden", "x;ls"])
def test_profile_of_a_name_that_is_no_word_is_unknown(
    name: str, folder: Callable[..., Path]
) -> None:
    written = folder(**{name: {"extends": "base"}})
    assert profile_names(written) == []
    with pytest.raises(UserError, match="unknown profile"):
        load_profile(written, name)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_device_of_a_profile(device: str, folder: Callable[..., Path]) -> None:
    profile = load_profile(folder(child={"extends": "base", "device": device}), "child")
    assert profile.device == device


def test_settings_hash_notices_a_change() -> None:
    first = settings_hash({"steps": 10})
    assert first == settings_hash({"steps": 10})
    assert first != settings_hash({"steps": 11})


def test_a_method_may_have_sparsities_of_its_own(folder: Callable[..., Path]) -> None:
    settings = {"wanda": {"sparsities": [50]}, "wanda@2-4": {"parameters": {"pattern": "2:4"}}}
    child = {"extends": "base", "methods": ["flap", "wanda", "wanda@2-4"], "settings": settings}
    profile = load_profile(folder(child=child), "child")
    assert {(cell.method, cell.sparsity) for cell in profile.cells()} == {
        *(("flap", sparsity) for sparsity in (20, 40)),
        *((method, 50) for method in ("wanda", "wanda@2-4")),
    }
    # A table with sparsities of its own means them.
    shown = profile.with_sparsities(["wanda"], [30])
    assert {cell.sparsity for cell in shown.cells()} == {30}


def test_a_method_may_be_run_with_fewer_seeds(folder: Callable[..., Path]) -> None:
    settings = {"wanda": {"sparsities": [50], "seed_count": 1}, "wanda@2-4": {"seed_count": 2}}
    child = {"extends": "base", "methods": ["flap", "wanda", "wanda@2-4"], "settings": settings}
    profile = load_profile(folder(child=child | {"seeds": [4, 7, 1]}), "child")
    seeds: dict[str, set[int]] = {}
    for cell in profile.cells():
        seeds.setdefault(cell.method, set()).add(cell.seed)
    assert seeds == {"flap": {4, 7, 1}, "wanda": {4}, "wanda@2-4": {4, 7}}
    assert profile.has("wanda", 50, 4)
    assert not profile.has("wanda", 50, 7)
    assert not profile.has("wanda", 20, 4)


@pytest.mark.parametrize(
    ("sparsities", "complaint"),
    [
        ([60], "sparsity 60 contradicts the pattern 2:4"),
        ([50, 50], r"settings\.wanda@2-4\.sparsities lists an entry twice"),
        ([0], r"sparsity 0 is outside 1\.\.99"),
        ([], r"settings\.wanda@2-4\.sparsities"),
    ],
)
def test_sparsities_that_a_method_cannot_have_are_refused(
    folder: Callable[..., Path], sparsities: list[int], complaint: str
) -> None:
    settings = {"wanda@2-4": {"parameters": {"pattern": "2:4"}, "sparsities": sparsities}}
    child = {"extends": "base", "methods": ["wanda@2-4"], "settings": settings}
    with pytest.raises(UserError, match=complaint):
        load_profile(folder(child=child), "child")
