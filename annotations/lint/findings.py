"""What lint can find: the table of codes, and one finding with its place and its remedy. It knows no rule's workings.

Codes are stable: a code keeps its meaning for good, and the code of a rule that is given up is not used again.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
AROUND = 30
LONGEST = 60


class Rule(NamedTuple):
    """One row of the table."""

    code: str
    name: str
    severity: str
    """`error`: training refuses or mends it; `warning`: readable, and probably not what was meant."""
    remedy: str
    """What to do, appended to each finding's message."""


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("E101", "out-of-bounds", "error", "mark the place again"),
        Rule("E102", "text-mismatch", "error", "mark the place again, or give offsets in code points of data.text"),
        Rule("E103", "overlap", "error", "delete one of the two, or shorten it"),
        Rule("E104", "unknown-label", "error", "choose a label of the schema, or add it there"),
        Rule(
            "E105", "unknown-layer", "error", "lint with the schema of this project (--schema), or rename the control"
        ),
        Rule("E106", "unlabelled-region", "error", "give it exactly one label, or delete it"),
        Rule("E107", "malformed-region", "error", "delete it and mark it again; export as JSON, not JSON_MIN"),
        Rule("E108", "contradictory-labels", "error", "keep one of the labels"),
        Rule("E109", "no-target", "error", "set `target`, or leave targeted layers out of this document"),
        Rule("E110", "repeated-id", "error", "keep one of them, or give each an id of its own"),
        Rule("E111", "no-text", "error", "put the article into `text`, or delete the task"),
        Rule("E112", "unreadable", "error", "mend it; reading it as a document fails"),
        Rule("W201", "duplicate", "warning", "delete one of the two"),
        Rule("W202", "edge-whitespace", "warning", "shorten it to the visible characters"),
        Rule("W203", "edge-punctuation", "warning", "leave the punctuation outside"),
        Rule("W204", "mid-word-boundary", "warning", "mark whole words"),
        Rule("W205", "inconsistent-label", "warning", "choose the same label, unless it means something else here"),
        Rule("W206", "unmarked-surface", "warning", "mark it, unless it means something else here"),
        Rule("W207", "off-sentence", "warning", "mark whole sentences"),
        Rule("W208", "near-duplicate", "warning", "give both the same `group`, or delete one"),
        Rule("W209", "too-few-examples", "warning", "annotate more of it, or merge it with another label"),
        Rule("W210", "unknown-annotator", "warning", "say who made it (the user may have been deleted)"),
        Rule("W211", "unlabelled-sentence", "warning", "label it"),
        Rule("W212", "unanswered-layer", "warning", "label it, or take the layer out of `data.layers`"),
    )
}


@dataclass(frozen=True)
class Finding:
    """One thing to mend. What is None does not apply: a finding about a label in the whole data set has no document."""

    code: str
    file: str | None
    document: str | None
    task: str | None
    annotation: str | None
    region: str | None
    layer: str | None
    start: int | None
    """Half-open offsets as the file gives them, in code points of the text."""
    end: int | None
    message: str
    """What is wrong, the place in [brackets] with some text around it, and what to do."""

    @property
    def rule(self) -> Rule:
        """The row of the table."""
        return RULES[self.code]

    @property
    def is_error(self) -> bool:
        """Whether its severity is `error`."""
        return self.rule.severity == "error"

    def to_dict(self) -> dict[str, Any]:
        """Plain values; keys are the same in every finding."""
        return {"code": self.code, "name": self.rule.name, "severity": self.rule.severity, **asdict(self)}


class Range(NamedTuple):
    """Offsets as a file gives them."""

    start: int | None = None
    end: int | None = None


NOWHERE = Range()


@dataclass(frozen=True)
class Where:
    """The document or annotation that findings are about."""

    file: str | None = None
    document: str | None = None
    task: str | None = None
    annotation: str | None = None

    def found(
        self, code: str, what: str, *, layer: str | None = None, region: str | None = None, at: Range = NOWHERE
    ) -> Finding:
        """A finding here; the rule's remedy is appended to `what`."""
        message = f"{what}; {RULES[code].remedy}"
        place = (self.file, self.document, self.task, self.annotation)
        return Finding(code, *place, region, None if layer is None else shown(layer), at.start, at.end, message)


def context(text: str, start: int, end: int) -> str:
    """The place in [brackets] with some text around it, on one line; long places are shortened in the middle."""
    start, end = max(0, start), min(max(start, end), len(text))
    inside = text[start:end]
    if len(inside) > LONGEST:
        inside = f"{inside[:AROUND]}…{inside[-AROUND:]}"
    before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
    return shown(f"{before}[{inside}]{after}")


def shown(text: object) -> str:
    """Text for a message: white space folded, control characters and lone surrogates written as escapes."""
    return _UNSEEN.sub(lambda match: ascii(match[0])[1:-1], " ".join(str(text).split()))
