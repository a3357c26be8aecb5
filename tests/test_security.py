"""No pickle, no code from outside, no unchecked bytes: the code is walked, dangers are tried."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import save_tiny_model

from adaptprune.data.hub_rows import read_split
from adaptprune.data.texts import HubCorpus, corpus_file
from adaptprune.errors import UserError
from adaptprune.files.hub_files import Commit
from adaptprune.models import fetch
from adaptprune.models.catalogue import WheelSource, catalogue
from adaptprune.models.checkpoint import load_model, load_tokenizer, revision
from adaptprune.models.weightfiles import check_weight_files

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
#: What reads pickles or runs text, by the name it has where it is defined.
FORBIDDEN = {
    *("torch.load", "torch.serialization.load", "torch.jit.load", "torch.hub.load", "numpy.load"),
    *("pandas.read_pickle", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("os.system", "os.popen", "eval", "exec", "compile", "__import__", "shutil.unpack_archive"),
}
#: The one exception: the modules that a forkserver imports are named in its own source.
ALLOWED = {("adaptprune/forkserver.py", "__import__")}
#: What may run code of others where it is called with other arguments than those checked here.
GUARDED = {
    *("from_pretrained", "load_dataset", "load_dataset_builder"),
    *("snapshot_download", "hf_hub_download", "filter_repo_objects"),
}


def imported(tree: ast.AST) -> dict[str, str]:
    """Return what the imported names of a file stand for: ``np`` for numpy, say."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """Return a reference by the name it has where it is defined: ``numpy.load`` for ``np.load``."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "…"


def references(tree: ast.AST) -> set[str]:
    """Return the names that a file refers to, called or not."""
    names = imported(tree)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    return {dotted(node, names) for node in nodes}


@dataclasses.dataclass(frozen=True)
class Site:
    """One call: its place, what is called, and the innermost function (or file) around it."""

    place: str
    name: str
    call: ast.Call
    scope: ast.AST

    def keywords(self) -> dict[str, str]:
        """Return the keywords as source text, those that ``**name`` stands for among them."""
        given = {}
        for keyword in self.call.keywords:
            if keyword.arg is None:
                given |= self._unpacked(keyword.value)
            else:
                given[keyword.arg] = ast.unparse(keyword.value)
        return given

    def _unpacked(self, value: ast.expr) -> dict[str, str]:
        """Return what a dict holds that is written out, there or where its name is bound.

        The name may be bound once and used as ``**name`` alone: all else could change the dict.
        """
        if isinstance(value, ast.Dict):
            return {ast.literal_eval(key): ast.unparse(v) for key, v in entries(value)}
        if isinstance(value, ast.IfExp):
            either = self._unpacked(value.body) | self._unpacked(value.orelse)
            return {key: f"{text} or absent" for key, text in either.items()}
        assert isinstance(value, ast.Name), f"{self.place}: ** of no name"
        nodes = list(ast.walk(self.scope))
        uses = [node for node in nodes if isinstance(node, ast.Name) and node.id == value.id]
        unpackings = [
            node.value for node in nodes if isinstance(node, ast.keyword) and node.arg is None
        ]
        bindings = [
            node
            for node in nodes
            if isinstance(node, ast.Assign) and node.targets[0] in uses and len(node.targets) == 1
        ]
        others = [node for node in uses if node not in unpackings]
        assert len(bindings) == len(others) == 1, f"{self.place}: **{value.id} may be anything"
        return self._unpacked(bindings[0].value)


def entries(literal: ast.Dict) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the keys and values of a dict that is written out; ``**`` inside is refused."""
    for key, value in zip(literal.keys, literal.values, strict=True):
        assert key is not None, "** in a dict"
        yield key, value


def sites_in(tree: ast.AST, place: str) -> Iterator[Site]:
    """Yield the calls of a file."""
    names = imported(tree)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)

    def within(node: ast.AST, scope: ast.AST) -> Iterator[Site]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield Site(f"{place}:{child.lineno}", dotted(child.func, names), child, scope)
            yield from within(child, child if isinstance(child, functions) else scope)

    yield from within(tree, tree)


@functools.cache
def trees() -> list[tuple[str, ast.AST]]:
    """Return the source files' paths in the repository, and what they hold."""
    return [(file.relative_to(ROOT).as_posix(), ast.parse(file.read_text())) for file in SOURCES]


def sites(*names: str) -> Iterator[Site]:
    """Yield all calls whose last part is one of some names."""
    for place, tree in trees():
        for site in sites_in(tree, place):
            if site.name.rsplit(".", 1)[-1] in names:
                yield site


def test_the_walk_sees_the_code() -> None:
    assert len(SOURCES) > 100
    assert {site.name for site in sites("safe_load")} == {"yaml.safe_load"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.load(f)", "torch.load"),
        ("from torch import load\nload(f)", "torch.load"),
        ("from torch import load as read\nread(f)", "torch.load"),
        ("import torch as t\npartial(t.load)(f)", "torch.load"),
        ("import numpy as n\nn.load(f)", "numpy.load"),
        ("def f():\n    from os import system\n    system('ls')", "os.system"),
        ("run = eval\nrun('1')", "eval"),
    ],
)
def test_the_walk_sees_what_a_name_stands_for(source: str, found: str) -> None:
    assert found in references(ast.parse(source)) & FORBIDDEN


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("load(**{'a': 1}, b=2)", {"a": "1", "b": "2"}),
        ("safe = {'a': 1}; load(**safe); load(**safe)", {"a": "1"}),
        ("safe = {'a': 1} if x else {}; load(**safe)", {"a": "1 or absent"}),
        ("safe = {'a': 1}; safe['a'] = 2; load(**safe)", None),
        ("safe = {'a': 1}; safe = {'a': 2}; load(**safe)", None),
        ("safe = {'a': 1}; change(safe); load(**safe)", None),
        ("safe = other = {'a': 1}; load(**safe)", None),
        ("safe = {'a': 1, **x}; load(**safe)", None),
        ("load(**x)", None),
        ("load(**settings())", None),
    ],
)
def test_the_walk_sees_what_is_unpacked(body: str, given: dict[str, str] | None) -> None:
    tree = ast.parse(f"def f(x):\n    {body}\n")
    site = next(site for site in sites_in(tree, "made.py") if site.name == "load")
    if given is None:
        with pytest.raises(AssertionError):
            site.keywords()
    else:
        assert site.keywords() == given


def test_nothing_that_unpickles_is_imported() -> None:
    found = [
        (place, name)
        for place, tree in trees()
        for name in imported(tree).values()
        if name.split(".")[0] in PICKLES or name.endswith(".*")
    ]
    assert found == []


def test_nothing_that_runs_what_it_reads_is_named() -> None:
    found = {
        (place, name)
        for place, tree in trees()
        for name in references(tree)
        if name in FORBIDDEN or name.endswith((".extractall", ".extract"))
    }
    assert found == ALLOWED


def test_yaml_and_arrays_are_read_without_objects() -> None:
    for site in sites("load"):
        assert "allow_pickle" not in site.keywords(), site.place
        if site.name == "yaml.load":
            assert [ast.unparse(argument) for argument in site.call.args[1:]] == ["_Loader"]
            source = (ROOT / site.place.split(":")[0]).read_text()
            assert "class _Loader(yaml.SafeLoader)" in source, site.place


def test_no_shell_runs_text() -> None:
    for site in sites("run", "Popen", "call", "check_call", "check_output"):
        assert site.keywords().get("shell", "False") == "False", site.place


def test_names_of_the_user_are_quoted_in_the_commands_of_jobs() -> None:
    commands = {path.name: path.read_text() for path in (ROOT / "rules").glob("*.smk")}
    assert "{params.model:q}" in commands["prune.smk"]
    for name, text in commands.items():
        assert not re.findall(r"{params\.(?:model|folder|declarations|tables)}", text), name


def test_dependencies_are_called_with_safe_arguments() -> None:
    loads = list(sites("from_pretrained", "load_dataset", "load_dataset_builder"))
    assert len(loads) >= 7
    for site in loads:
        given = site.keywords()
        if "load_dataset" in site.name:
            assert "trust_remote_code" not in given, site.place
            continue
        # An absent value asks at the terminal whether to run code; only a profile may say yes.
        assert given["trust_remote_code"] in ("False", "trust_remote_code"), site.place
        assert given["local_files_only"] == "True", site.place
        if "AutoModel" in site.name and "gguf_file" not in given:
            assert given["use_safetensors"] == "True", site.place
    assert not list(sites("snapshot_download"))
    for download in sites("hf_hub_download"):  # a commit, whose hashes are compared
        assert download.keywords()["revision"] in ("self.id", "commit.id"), download.place
    (chosen,) = sites("filter_repo_objects")
    assert chosen.keywords()["ignore_patterns"] == "HUB_REFUSED"
    assert {"*.bin", "*.pt", "*.pkl", "*.py", "*/*"} <= set(fetch.HUB_REFUSED)


def test_what_is_guarded_is_called_where_it_is_named() -> None:
    """Handed on under another name, its arguments would not be seen."""
    for place, tree in trees():
        called = {id(site.call.func) for site in sites_in(tree, place)}
        names = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute) and id(node) not in called:
                last = dotted(node, names).rsplit(".", 1)[-1]
                assert last not in GUARDED, f"{place}:{node.lineno} hands on {last}"


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
    monkeypatch.setattr("adaptprune.data.texts.find_corpus", lambda name: corpus)
    rows = [{"c": "one"}, {"c": "two"}]
    commit = Commit("dataset", "o/r", "main", "0" * 40)
    monkeypatch.setattr("adaptprune.data.texts.resolve", lambda *_: commit)
    monkeypatch.setattr("adaptprune.data.texts.FirstRows.rows", lambda *_: iter(rows))
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
    assert not (cache / "corpora" / "made.jsonl").exists()
    assert seal.is_file(), "never a file without its seal"
    path = corpus_file("made")
    assert corpus_file("made") == path
    path.write_bytes(path.read_bytes().replace(b"one", b"ine"))
    with pytest.raises(UserError, match=r"made\.jsonl: altered since it was fetched"):
        corpus_file("made")


def test_split_that_was_altered_since_it_was_fetched_is_refused(tmp_path: Path) -> None:
    from adaptprune.files.atomic import sealed_file

    file = tmp_path / "o" / "r" / "default" / "train.jsonl"
    file.parent.mkdir(parents=True)
    with sealed_file(file) as temporary:
        temporary.write_text('{"text": "one"}\n')
    assert len(read_split(tmp_path, "o/r", None, "train", ["text"])) == 1
    file.write_text('{"text": "ine"}\n')
    with pytest.raises(UserError, match=r"train\.jsonl: altered since it was fetched"):
        read_split(tmp_path, "o/r", None, "train", ["text"])
