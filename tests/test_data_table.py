"""Counted tokens by source, and Table 2 made from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from test_cli import refused
from training_rows import answer, question, write_training_hub

from adaptprune.data.tokencount import count_tokens, write_counts
from adaptprune.data.training import find_data
from adaptprune.errors import UserError
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.papers.adapt_pruner.table2 import render_data_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def claims(request: pytest.FixtureRequest) -> Path:
    return request.config.rootpath / "paper_tables" / "adapt_pruner" / "quoted" / "claims.yaml"


def test_tokens_are_counted_by_hand(tmp_path: Path) -> None:
    data = find_data("paper", write_training_hub(tmp_path, rows=2))
    found = {source.pop("name"): source for source in count_tokens(data, byte_tokenizer())}
    ends = len("<|im_start|>\n<|im_end|>\n")
    answers = sum(ends + len("assistant") + len(answer(i)) + 1 for i in (0, 1))
    asked = sum(ends + len("user") + len(question(i)) for i in (0, 1))
    system = 2 * (ends + len("system") + len("You are a helpful assistant."))
    assert found["O1-OPEN/OpenO1-SFT"] == {
        "documents": 2,
        "tokens": system + asked + answers,
        "counted": answers,
    }


def counted(tmp_path: Path, name: str, hub: Path | None = None) -> Path:
    output = tmp_path / f"{name}.json"
    write_counts(find_data(name, hub), "tiny-llama", output)
    return output


def test_counts_stand_next_to_the_published(cache: Path, claims: Path, tmp_path: Path) -> None:
    counts = counted(tmp_path, "paper", write_training_hub(tmp_path / "hub"))
    record = json.loads(counts.read_text())
    assert record["conditions"]["data"]["name"] == "paper"
    assert record["conditions"]["cut"] == 1024
    render_data_table(counts, claims, tmp_path / "table2")
    table = pd.read_csv(tmp_path / "table2.csv").set_index("name")
    assert table["published"].sum() == pytest.approx(3.9096e9)
    tokens = {source["name"]: source["tokens"] for source in record["sources"]}
    assert table["tokens"].to_dict() == tokens
    lines = (tmp_path / "table2.md").read_text().splitlines()
    row = next(line for line in lines if "ultrachat" in line)
    share = f"−{100 * (1 - tokens['HuggingFaceH4/ultrachat_200k'] / 0.2e9):.1f}%"
    assert row.endswith(f"| 200.00M | {share} |")
    total = next(line for line in lines if line.startswith("| Total"))
    assert f"| {sum(tokens.values()) / 1e3:.2f}k |" in total
    assert "| 3.87B |" in total
    assert any("add up to 3.91B, printed is 3.87B" in line for line in lines)
    assert r"\toprule" in (tmp_path / "table2.tex").read_text()


def test_other_mixture_shows_its_own_sources_first(
    cache: Path, claims: Path, tmp_path: Path
) -> None:
    render_data_table(counted(tmp_path, "tiny-domains"), claims, tmp_path / "table2")
    lines = (tmp_path / "table2.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:4]] == ["| one", "| two", "| Open-Orca/OpenOrca"]
    assert rows[1].endswith("| – | – |")
    assert rows[-1].endswith("| 3.87B | – |")


def test_altered_counts_are_refused(cache: Path, claims: Path, tmp_path: Path) -> None:
    counts = counted(tmp_path, "tiny-domains")
    content: dict[str, Any] = json.loads(counts.read_text())
    content["sources"][0]["tokens"] += 1
    counts.write_text(json.dumps(content))
    with pytest.raises(UserError, match="altered since it was written"):
        render_data_table(counts, claims, tmp_path / "table2")


def test_commands_count_and_render(command: Any, claims: Path, tmp_path: Path) -> None:
    counts, stem = tmp_path / "counts.json", tmp_path / "table2"
    status, _, errors = command(
        *("count-tokens", "--data", "tiny-domains", "--model", "tiny-llama", "--output", counts)
    )
    assert status == 0, errors
    status, _, errors = command(
        "data-table", "--counts", counts, "--claims", claims, "--output", stem
    )
    assert status == 0, errors
    assert stem.with_suffix(".md").is_file()
    call = command(
        *("count-tokens", "--data", "tiny-domain", "--model", "tiny-llama", "--output", counts)
    )
    assert "did you mean 'tiny-domains'" in refused(call)
    (tmp_path / "list.json").write_text("[]")
    call = command(
        *("data-table", "--counts", tmp_path / "list.json", "--claims", claims, "--output", stem)
    )
    assert "holds no counted tokens" in refused(call)
