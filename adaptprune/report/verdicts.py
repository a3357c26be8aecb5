"""What the claims of every paper came to, and the four looks of what can come out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from adaptprune.report.statements import Finding
from adaptprune.results.verdict import Outcome
from adaptprune.workflow.papers import papers

if TYPE_CHECKING:
    from adaptprune.report.evidence import Evidence
    from adaptprune.report.statements import Statement
    from adaptprune.results.verdict import Verdict
    from adaptprune.workflow.papers import Paper


class Mark(NamedTuple):
    """How an outcome looks: a class of the page's style, and a symbol that needs no colour."""

    look: str
    symbol: str


MARKS: dict[Outcome, Mark] = {
    Outcome.HOLDS: Mark("holds", "✓"),
    Outcome.REFUTED: Mark("refuted", "✗"),
    Outcome.OPEN: Mark("open", "?"),
    Outcome.NOT_RUN: Mark("absent", "○"),
}
#: What arithmetic finds looks like what a run finds.
FOUND: dict[Finding, Mark] = {
    Finding.HOLDS: MARKS[Outcome.HOLDS],
    Finding.REFUTED: MARKS[Outcome.REFUTED],
    Finding.OPEN: MARKS[Outcome.OPEN],
}


class Line(NamedTuple):
    """The verdicts on one claim that came out alike."""

    claim: str
    verdicts: list[Verdict]

    @property
    def places(self) -> str:
        """Return where the claim was judged; what all places begin with stands there once."""
        places = [verdict.place.split(" ") for verdict in self.verdicts if verdict.place]
        alike = itertools.takewhile(lambda words: len(set(words)) == 1, zip(*places, strict=False))
        shared = len(list(alike))
        rest = [place[shared if number else 0 :] for number, place in enumerate(places)]
        return "; ".join(" ".join(words) for words in rest)


@dataclass(frozen=True)
class Judged:
    """A paper's claims under the conditions of a run, and its statements that need none.

    Attributes:
        paper: the paper.
        judged_by: what the tests of its claims are over.
        verdicts: on its claims; one claim may be judged in several places.
        statements: checked by arithmetic alone.
    """

    paper: Paper
    judged_by: str
    verdicts: list[Verdict]
    statements: list[Statement]

    def count(self, outcome: Outcome) -> int:
        """Return how many verdicts came out so."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts)

    def lines(self, outcome: Outcome) -> list[Line]:
        """Return the claims with verdicts that came out so, each once."""
        found: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            if verdict.outcome == outcome:
                found.setdefault(verdict.claim, []).append(verdict)
        return [Line(claim, verdicts) for claim, verdicts in found.items()]


def judge_papers(evidence: Evidence) -> list[Judged]:
    """Return what a run says about every installed paper.

    Raises:
        UserError: the results of the profile are absent or cannot be trusted.
    """
    return [
        Judged(
            paper,
            paper.part("claims").JUDGED_BY,
            paper.part("claims").judge_claims(evidence),
            list(
                paper.part("audit.report")
                .audit_paper(paper.folder(evidence.declarations))
                .statements
            ),
        )
        for paper in papers()
    ]
