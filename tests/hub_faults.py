"""Faults that a hub serves, one row each: what goes wrong, and what must come of it.

Every row has a repository (or, of data, a data set) of its own, so that rows can run side by side
on one hub. Whatever the fault, a command ends in the right bytes or in one line, and the same
command ends in the right bytes once the fault is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from loopback_hub import Fault


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        name: of the row in docs/faults.md, and of its repository.
        fault: what goes wrong; ``match`` is the end of a path inside the repository.
        told: pattern of what is said on stderr.
        fails: whether the command ends with one line, in place of the right bytes.
        token: of the machine.
        seconds: that it takes at least and at most, of waiting above all.
    """

    name: str
    fault: Fault
    told: str = ""
    fails: bool = False
    token: str = "hf_member"
    seconds: tuple[float, float] = (0.0, 120.0)

    @property
    def is_gated(self) -> bool:
        return "gated" in self.name

    def served(self, place: str) -> Fault:
        """Return the fault for the row's own repository, which lies at a place."""
        return replace(self.fault, match=f"{place}/.*{self.fault.match}")


ALWAYS = None
#: Of a model, which `fetch --model` brings.
MODELS = [
    Row("status-503-once", Fault("safetensors$", status=503), r"status 503.*attempt 2 of"),
    Row("status-500-always", Fault("safetensors$", times=ALWAYS, status=500), "status 500", True),
    Row(
        "status-429-retry-after",
        Fault("safetensors$", status=429, headers={"Retry-After": "3"}),
        r"status 429.*in 3 s",
        seconds=(3.0, 120.0),
    ),
    Row(
        "status-429-for-an-hour",
        Fault("safetensors$", times=ALWAYS, status=429, headers={"Retry-After": "3600"}),
        "status 429",
        True,
    ),
    Row("status-404-of-a-shard", Fault("00003-of.*$", times=ALWAYS, status=404), "404", True),
    Row("gated-without-token", Fault("^never$"), r"status 401.*token", True, token=""),
    Row(
        "gated-for-a-stranger",
        Fault("^never$"),
        r"status 403.*ask for access on its page http\S+/faults/gated-for-a-stranger",
        True,
        token="hf_stranger",
    ),
    Row("no-answer-once", Fault("safetensors$", drop=True), r"attempt 2 of"),
    Row("no-answer-ever", Fault("safetensors$", times=ALWAYS, drop=True), r"\(.+\)", True),
    Row("cut-once", Fault("00002-of.*safetensors$", method="GET", cut=3000)),
    Row("cut-always", Fault("00002-of.*$", times=ALWAYS, method="GET", cut=3000), "", True),
    Row("truncated-once", Fault("00002-of.*safetensors$", method="GET", truncate=3000)),
    Row(
        "truncated-always",
        Fault("00002-of.*$", times=ALWAYS, method="GET", truncate=3000),
        "early",
        True,
    ),
    Row("wrong-byte-once", Fault("00002-of.*$", method="GET", flip=True), "attempt 2 of"),
    Row(
        "wrong-byte-always",
        Fault("00002-of.*$", times=ALWAYS, method="GET", flip=True),
        r"00002-of-00004\.safetensors: its bytes are not those of the hub's hash",
        True,
    ),
    Row(
        "wrong-byte-in-the-config",
        Fault("config.json$", times=ALWAYS, method="GET", flip=True),
        r"config\.json: its bytes are not those",
        True,
    ),
    Row("slow", Fault("00002-of.*$", method="GET", rate=30_000), seconds=(1.0, 120.0)),
    Row("late", Fault("tree", delay=2.0), seconds=(2.0, 120.0)),
]

#: Of a data set, which `evaluate --tasks` brings; the name of the row has the task in it.
DATA = {
    "arc_easy": Row(
        "data-wrong-byte-once", Fault("parquet$", method="GET", flip=True), "attempt 2"
    ),
    "boolq": Row(
        "data-wrong-byte-always",
        Fault("parquet$", times=ALWAYS, method="GET", flip=True),
        "its bytes are not those of the hub's hash",
        True,
    ),
    "piqa": Row("data-cut-once", Fault("parquet$", method="GET", cut=2000)),
    "openbookqa": Row(
        "data-truncated-always",
        Fault("parquet$", times=ALWAYS, method="GET", truncate=2000),
        "early",
        True,
    ),
    "winogrande": Row("data-503-once", Fault("parquet$", status=503), r"status 503.*attempt 2 of"),
    "social_iqa": Row("data-500-always", Fault("", times=ALWAYS, status=500), "status 500", True),
    "agieval_sat_math": Row(
        "data-gated-for-a-stranger",
        Fault("^never$"),
        r"status 403.*ask for access on its page http\S+/datasets/hails/agieval-sat-math",
        True,
        token="hf_stranger",
    ),
}
