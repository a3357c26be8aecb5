"""No pickle, no code from outside, no unchecked bytes: the code is walked, dangers are tried."""

from __future__ import annotations

import ast
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import save_tiny_model

from adaptprune import fetch
from adaptprune.checkpoint import load_model, load_tokenizer, revision
from adaptprune.corpus import HubCorpus, corpus_file
from adaptprune.errors import UserError
from adaptprune.hubdata import read_split
from adaptprune.models import WheelSource, catalogue
from adaptprune.weightfiles import check_weight_files

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    file
    for folder in ("adaptprune", "baselines", "benchmarks")
    for file in ROOT.glob(f"{folder}/**/*.py")
)
#: Modules whose objects run code when they are read.
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
#: Calls that read pickles or run text: by the dotted name they are called by.
FORBIDDEN = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "numpy.load", "np.load"),
    *("pd.read_pickle", "pandas.read_pickle", "yaml.unsafe_load", "yaml.full_load"),
    *("yaml.load_all", "os.system", "os.popen", "eval", "exec", "compile", "__import__"),
    *("tarfile.TarFile.extractall", "shutil.unpack_archive"),
}
#: The one exception: the modules that a forkserver imports are named in its own source.
ALLOWED = {("adaptprune/forkserver.py", "__import__")}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls in a source file by the dotted name of what is called."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def sites(*names: str) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield the place, name and call of all calls whose last part is one of some names."""
    for file in SOURCES:
        for name, call in calls(file):
            if name.rsplit(".", 1)[-1] in names:
                yield f"{file.relative_to(ROOT)}:{call.lineno}", name, call


def test_the_walk_sees_the_code() -> None:
    assert len(SOURCES) > 100
    assert {name for _, name, _ in sites("safe_load")} == {"yaml.safe_load"}


def test_nothing_that_unpickles_is_imported() -> None:
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found += [(file.name, name) for name in names if name.split(".")[0] in PICKLES]
    assert found == []


def test_nothing_that_runs_what_it_reads_is_called() -> None:
    found = {
        (file.relative_to(ROOT).as_posix(), name)
        for file in SOURCES
        for name, _ in calls(file)
        if name in FORBIDDEN or name.endswith((".extractall", ".extract"))
    }
    assert found == ALLOWED


def test_yaml_and_arrays_are_read_without_objects() -> None:
    for place, name, call in sites("load"):
        assert "allow_pickle" not in keywords(call), place
        if name == "yaml.load":
            assert [ast.unparse(argument) for argument in call.args[1:]] == ["_Loader"], place
            assert "class _Loader(yaml.SafeLoader)" in (ROOT / place.split(":")[0]).read_text()


def test_no_shell_runs_text() -> None:
    for place, _, call in sites("run", "Popen", "call", "check_call", "check_output"):
        assert keywords(call).get("shell", "False") == "False", place


def test_dependencies_are_called_with_safe_arguments() -> None:
    loads = list(sites("from_pretrained", "load_dataset"))
    assert len(loads) >= 7
    for place, name, call in loads:
        given = keywords(call)
        if name.endswith("load_dataset"):
            assert "trust_remote_code" not in given, place
            continue
        # An absent value asks at the terminal whether to run code; only a profile may say yes.
        if None in given:  # ``**safe``
            source = (ROOT / place.split(":")[0]).read_text()
            assert '"local_files_only": True, "trust_remote_code": False' in source, place
            continue
        assert given["trust_remote_code"] in ("False", "trust_remote_code"), place
        assert given["local_files_only"] == "True", place
        if "AutoModel" in name:
            assert given["use_safetensors"] == "True", place
    downloads = list(sites("snapshot_download", "hf_hub_download"))
    assert [keywords(call)["ignore_patterns"] for _, _, call in downloads] == ["HUB_REFUSED"]
    assert {"*.bin", "*.pt", "*.pkl", "*.py", "*/*"} <= set(fetch.HUB_REFUSED)


def test_code_of_a_model_runs_only_where_the_profile_says_so() -> None:
    profiles = {path.name: path.read_text() for path in (ROOT / "config").glob("*.yaml")}
    assert not [name for name, text in profiles.items() if "trust_remote_code: true" in text]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """A copy of a model folder, to be spoilt."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_code_in_a_model_folder_is_not_run(model: Path) -> None:
    ran = model.parent / "ran"
    (model / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((model / "config.json").read_text())
    auto = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": "evil.T"}
    (model / "config.json").write_text(json.dumps(config | {"auto_map": auto, "model_type": "e"}))
    (model / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", None]}})
    )
    for load in (load_model, load_tokenizer):
        with pytest.raises(UserError, match=r"custom code|trust_remote_code|no loadable tokenizer"):
            load(model)
    assert not ran.exists()


def test_pickled_weights_are_not_read(model: Path) -> None:
    (model / "model.safetensors").unlink()

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(model.parent / "ran"),)

    import torch

    torch.save({"weight": Evil()}, model / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds no safetensors weights"):
        revision(model)
    with pytest.raises(UserError, match="not a loadable model"):
        load_model(model)
    assert not (model.parent / "ran").exists()


def headed(
    header: dict[str, Any] | bytes, data: bytes = b"\0" * 8, length: int | None = None
) -> bytes:
    """Return a safetensors file of a header that may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS = {
    "longer than the file": headed({}, length=10_000),
    "of no length": b"\0" * 4,
    "longer than memory": headed({}, length=2**63),
    "no JSON": headed(b"{'a': 1}"),
    "no UTF-8": headed(b"\xff\xfe\xfd\xfc"),
    "overlapping tensors": headed({"a": tensor(0, 8, [2]), "b": tensor(4, 8, [1])}),
    "a hole between tensors": headed({"a": tensor(0, 4, [1]), "b": tensor(6, 8, [1])}),
    "out of range": headed({"a": tensor(0, 4000, [1000])}),
    "backwards": headed({"a": tensor(8, 0, [2])}),
    "bytes after the last tensor": headed({"a": tensor(0, 4, [1])}),
    "another shape than bytes": headed({"a": tensor(0, 8, [3])}),
    "a size that overflows": headed({"a": tensor(0, 8, [2**40, 2**40])}),
    "unknown numbers": headed({"a": tensor(0, 8, [1], "F999")}),
    "whole numbers": headed({"a": tensor(0, 8, [1], "I64")}),
    "booleans": headed({"a": tensor(0, 8, [8], "BOOL")}),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS.keys())
def test_header_that_lies_is_one_line(content: bytes, model: Path) -> None:
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError) as refused:
        load_model(model)
    message = str(refused.value)
    assert str(model / "model.safetensors") in message
    assert "broken weights" in message or "(allowed: F16, BF16, F32, F64)" in message
    assert "\n" not in message


def test_weights_of_whole_numbers_are_not_cast(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].long()
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"'model.norm.weight' is of dtype I64 \(allowed: F16"):
        load_model(model)


@pytest.mark.parametrize(
    "shard", ["../copy/model.safetensors", "/etc/passwd", "absent.safetensors"]
)
def test_index_that_leads_out_of_the_folder_is_refused(shard: str, model: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": shard}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="is no safetensors file of this folder"):
        check_weight_files(model)


def test_adapter_is_refused_before_its_base_model_is_looked_for(model: Path) -> None:
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(UserError, match="an adapter on another model's weights"):
        load_model(model)


def test_what_is_fetched_is_pinned_or_sealed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in catalogue().values():
        if isinstance(entry.source, WheelSource):
            assert len(entry.source.sha256) == len(entry.source.member_sha256) == 64
    corpus = HubCorpus(
        name="made", note="", kind="hub", repository="o/r", split="s", column="c", documents=2
    )
    monkeypatch.setattr("adaptprune.corpus.find_corpus", lambda name: corpus)
    monkeypatch.setattr("adaptprune.corpus.hub_texts", lambda corpus: iter(["one", "two"]))
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == "made.jsonl":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            corpus_file("made")
    seal = cache / "corpora" / "made.jsonl.sha256"
    assert [*seal.parent.iterdir()] == [seal], "never a file without its seal"
    path = corpus_file("made")
    assert corpus_file("made") == path
    path.write_bytes(path.read_bytes().replace(b"one", b"ine"))
    with pytest.raises(UserError, match=r"made\.jsonl: altered since it was fetched"):
        corpus_file("made")


def test_split_that_was_altered_since_it_was_fetched_is_refused(tmp_path: Path) -> None:
    from adaptprune.files import sealed_file

    file = tmp_path / "o" / "r" / "default" / "train.jsonl"
    file.parent.mkdir(parents=True)
    with sealed_file(file) as temporary:
        temporary.write_text('{"text": "one"}\n')
    assert len(read_split(tmp_path, "o/r", None, "train", ["text"])) == 1
    file.write_text('{"text": "ine"}\n')
    with pytest.raises(UserError, match=r"train\.jsonl: altered since it was fetched"):
        read_split(tmp_path, "o/r", None, "train", ["text"])
