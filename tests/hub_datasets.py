"""Data sets with made-up rows in the layout, schema and size that the hub has them in."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import datasets
import yaml
from hub_rows import SPLITS, bird
from training_rows import SPLITS as TRAINING

from adaptprune.evaluation.benchmarks import benchmark_facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Maker = Callable[[int], dict[str, Any]]

#: Rows of a split that no task evaluates.
FEW = 6
#: SlimPajama's documents in a file of its validation and test splits.
PER_FILE = 16
#: Names of MATH's subjects on the hub, where lm-eval's differ.
_SUBJECTS = {
    "counting_and_prob": "counting_and_probability",
    "num_theory": "number_theory",
    "precalc": "precalculus",
}
#: RedPajama's domains, as SlimPajama calls them.
_DOMAINS = (
    *("CommonCrawl", "C4", "Github", "Wikipedia"),
    *("Book", "ArXiv", "StackExchange"),
)
_MAKERS: dict[str, Maker] = {dataset: make for dataset, _, _, _, make in SPLITS}


def write_datasets(root: Path, *, pajama_files: int = 12) -> None:
    """Write all data sets of the paper's profiles.

    Args:
        root: ``datasets/`` of the hub.
        pajama_files: how many files SlimPajama's validation split has.
    """
    for dataset, configurations in _benchmarks().items():
        _write_parquet(root / dataset / "1", configurations, _maker(dataset))
    _write_training(root)
    _write_c4(root / "allenai/c4/1")
    _write_slimpajama(root / "cerebras/SlimPajama-627B/1", pajama_files)


def _benchmarks() -> dict[str, dict[str | None, dict[str, int]]]:
    """Return the rows of every split, by data set and configuration.

    Splits that are evaluated are as long as on the hub, others a few rows.
    """
    facts = benchmark_facts()
    full = {name: fact.get("documents", 0) for name, fact in facts.items()}

    def members(group: str) -> dict[str, int]:
        return {name.removeprefix(f"{group}_"): n for name, n in facts[group]["members"].items()}

    few = {"train": FEW, "validation": FEW}
    found: dict[str, dict[str | None, dict[str, int]]] = {
        "allenai/ai2_arc": {
            "ARC-Easy": few | {"test": full["arc_easy"]},
            "ARC-Challenge": few | {"test": full["arc_challenge"]},
        },
        "allenai/openbookqa": {
            "main": few | {"test": full["openbookqa"]},
            "additional": few | {"test": FEW},
        },
        "Rowan/hellaswag": {None: few | {"validation": full["hellaswag"], "test": FEW}},
        "baber/piqa": {None: few | {"validation": full["piqa"], "test": FEW}},
        "lighteval/siqa": {None: few | {"validation": full["social_iqa"]}},
        "allenai/winogrande": {
            f"winogrande_{size}": few | {"validation": full["winogrande"], "test": FEW}
            for size in ("debiased", "xl")
        },
        "aps/super_glue": {
            "boolq": few | {"validation": full["boolq"], "test": FEW},
            "cb": few | {"test": FEW},
        },
        "nyu-mll/glue": {
            "rte": few | {"validation": full["rte"], "test": FEW},
            "cola": few | {"test": FEW},
        },
        "openai/gsm8k": {"main": {"train": 60, "test": full["gsm8k"]}},
        "EleutherAI/hendrycks_math": {
            _SUBJECTS.get(name, name): {"train": FEW, "test": n}
            for name, n in members("minerva_math").items()
        },
        "EleutherAI/wikitext_document_level": {
            "wikitext-2-raw-v1": few | {"test": full["wikitext"]},
            "wikitext-103-raw-v1": few | {"test": full["wikitext"]},
        },
        "Salesforce/wikitext": {"wikitext-2-raw-v1": few | {"train": 400, "test": FEW}},
        "truthfulqa/truthful_qa": {
            "multiple_choice": {
                "validation": facts["truthfulqa"]["members"]["truthfulqa_mc1"]["documents"]
            }
        },
        "cais/mmlu": {
            name: {"test": n, "validation": FEW, "dev": 5} for name, n in members("mmlu").items()
        },
        "SaylorTwift/bbh": {
            name.removeprefix("cot_fewshot_"): {"test": n} for name, n in members("bbh").items()
        },
    }
    for name, n in members("agieval").items():
        found[f"hails/agieval-{name.replace('_', '-')}"] = {None: {"test": n}}
    return found


def _maker(dataset: str) -> Maker:
    if dataset.startswith("hails/agieval-"):
        return _MAKERS["hails/agieval-aqua-rat"]
    if dataset == "EleutherAI/wikitext_document_level":
        return _page
    return _line if dataset == "Salesforce/wikitext" else _MAKERS[dataset]


def _prose(index: int, sentences: int) -> str:
    return " ".join(
        f"The {bird(index * sentences + n)} sleeps by the pond , and nobody knows why ."
        for n in range(sentences)
    )


def _page(index: int) -> dict[str, Any]:
    return {"page": f" = {bird(index)} = \n {_prose(index, 60)} \n"}


def _line(index: int) -> dict[str, Any]:
    return {"text": "" if index % 3 == 0 else f" {_prose(index, 12)} \n"}


def _write_parquet(
    folder: Path, configurations: dict[str | None, dict[str, int]], make: Maker
) -> None:
    """Write one file per split, and the card that says which splits there are."""
    listed = []
    for configuration, splits in configurations.items():
        place = configuration or "data"
        for split, rows in splits.items():
            _write_table(folder / place / f"{split}-00000-of-00001.parquet", make, rows)
        files = [{"split": split, "path": f"{place}/{split}-*"} for split in splits]
        listed.append({"config_name": configuration or "default", "data_files": files})
    card = yaml.safe_dump({"configs": listed})
    (folder / "README.md").write_text(f"---\n{card}---\nmade up\n")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")


def _write_table(file: Path, make: Maker, rows: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list([make(index) for index in range(rows)]).to_parquet(file)


def _write_training(root: Path, rows: int = 40) -> None:
    """Write the nine data sets of Table 2, each in the files that its repository has."""
    for dataset, files in {
        "Open-Orca/OpenOrca": ["1M-GPT4-Augmented.parquet"],
        "allenai/WildChat-1M": ["data/train-00000-of-00001.parquet"],
        "lmsys/lmsys-chat-1m": ["data/train-00000-of-00001.parquet"],
        "openbmb/UltraInteract_sft": ["0000_sft.parquet"],
        "HuggingFaceH4/ultrachat_200k": [
            f"data/{split}-00000-of-00001.parquet"
            for split in ("train_sft", "test_sft", "train_gen", "test_gen")
        ],
    }.items():
        for file in files:
            _write_table(root / dataset / "1" / file, TRAINING[dataset][1], rows)
    for dataset, file in {
        "teknium/OpenHermes-2.5": "openhermes2_5.json",
        "yahma/alpaca-cleaned": "alpaca_data_cleaned.json",
        "O1-OPEN/OpenO1-SFT": "OpenO1-SFT.jsonl",
        "databricks/databricks-dolly-15k": "databricks-dolly-15k.jsonl",
    }.items():
        made = [TRAINING[dataset][1](index) for index in range(rows)]
        path = root / dataset / "1" / file
        path.parent.mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in made)
        path.write_text(json.dumps(made) if path.suffix == ".json" else lines)
    for dataset in TRAINING:
        if (root / dataset).is_dir():
            (root / dataset / "1" / "README.md").write_text("---\nlicense: mit\n---\nmade up\n")
    splits = ("train_sft", "test_sft", "train_gen", "test_gen")
    files = [{"split": split, "path": f"data/{split}-*"} for split in splits]
    card = yaml.safe_dump({"configs": [{"config_name": "default", "data_files": files}]})
    (root / "HuggingFaceH4/ultrachat_200k/1/README.md").write_text(f"---\n{card}---\nmade up\n")


def _write_slimpajama(folder: Path, files: int) -> None:
    """Write JSON lines under zstandard: a training split of ten chunks, the others of five."""
    import zstandard

    documents = count()
    for split, chunks, stem, number in (
        ("train", 10, "example_train", 2 * files),
        ("validation", 5, "example_holdout", files),
        ("test", 5, "example_holdout", files),
    ):
        for index in range(number):
            rows = [
                {
                    "text": _prose(document, 4 + document % 9),
                    "meta": {"redpajama_set_name": f"RedPajama{_DOMAINS[document % 7]}"},
                }
                for document in (next(documents) for _ in range(PER_FILE))
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows).encode()
            place = folder / split / f"chunk{index % chunks + 1}"
            place.mkdir(parents=True, exist_ok=True)
            packed = zstandard.ZstdCompressor().compress(text)
            (place / f"{stem}_{index // chunks}.jsonl.zst").write_bytes(packed)
    (folder / "README.md").write_text("---\npretty_name: SlimPajama-627B\n---\nmade up\n")


def _write_c4(folder: Path, files: int = 2, rows: int = 60) -> None:
    """Write the first files of C4's English training split, of 1,024."""
    import gzip

    for number in range(files):
        made = [
            {
                "text": _prose(number * rows + row, 40 + row % 60),
                "timestamp": "2019-04-25T12:57:54Z",
                "url": "https://example.com",
            }
            for row in range(rows)
        ]
        place = folder / "en" / f"c4-train.{number:05d}-of-01024.json.gz"
        place.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in made)
        place.write_bytes(gzip.compress(lines.encode(), mtime=0))
    (folder / "README.md").write_text("---\npretty_name: C4\n---\nmade up\n")
