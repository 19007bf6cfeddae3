"""Which of a task's annotations count as its labels. It knows annotations as JSON and documents, not servers or files."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import model_validator

from annotations.config import Config
from annotations.document import Document, FrozenDict
from annotations.errors import DocumentError
from annotations.labelstudio.shapes import Json
from annotations.labelstudio.votes import majority
from annotations.schema import Schema

_COMMANDS = "--choose of `standpoint labels convert` for a file, of `labels pull` for a project"


class Choice(StrEnum):
    """What to do where several people annotated one task."""

    ONLY = "only"
    """The ground truth, or the only annotation; several without ground truth are an error."""
    USER = "user"
    """The annotation of one user."""
    GROUND_TRUTH = "ground_truth"
    """The ground truth; a task without is left out."""
    ADJUDICATED = "adjudicated"
    """The ground truth, or what two or more annotators say alike; tasks in dispute are left out."""
    MAJORITY = "majority"
    """The ground truth, or each label that more than half of the annotators gave."""


class Policy(Config):
    """How annotations become labels."""

    choose: Choice = Choice.ONLY
    """`only`, `user`, `ground_truth`, `adjudicated` or `majority`."""
    user: int | None = None
    """Whose annotations, for `choose: user`."""
    skipped: Literal["leave_out", "refuse"] = "leave_out"
    """A task that was skipped and not annotated. It is never taken for one without labels."""
    empty: Literal["negative", "leave_out", "refuse"] = "negative"
    """An annotation that was submitted with nothing marked: says that there is nothing, or says nothing."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.choose is Choice.USER) != (self.user is not None):
            raise ValueError("`user` is given with `choose: user`, and only then")
        return self


def user_of(annotation: Json) -> int | None:
    """The id of the user who made it; None where the server has forgotten the user."""
    by = annotation.get("completed_by")
    found = by.get("id") if isinstance(by, dict) else by
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def submitted(task: Json) -> list[Json]:
    """The annotations of a task that somebody submitted; skipping a task is not annotating it."""
    return [item for item in task.get("annotations") or [] if not item.get("was_cancelled")]


def choose(task: Json, policy: Policy) -> list[Json] | str:
    """The annotations that count, one or (for majority and adjudicated) more; or why the task is left out.

    Raises:
        DocumentError: the policy cannot decide, or refuses what it finds.
    """
    made = [item for item in task.get("annotations") or [] if policy.user is None or user_of(item) == policy.user]
    done = [item for item in made if not item.get("was_cancelled")]
    if made and not done and policy.skipped == "refuse":
        raise _refused("was skipped; annotate it, or choose `skipped: leave_out`")
    full = [item for item in done if item.get("result") or policy.empty == "negative"]
    if policy.empty == "refuse" and len(full) < len(done):
        raise _refused("has an annotation with nothing marked; mark something, or choose what `empty` means")
    if not full:
        return "only empty annotations" if done else "skipped" if made else "not annotated"
    truth = [item for item in full if item.get("ground_truth")]
    if policy.choose is not Choice.USER and len(truth) > 1:
        raise _refused("has several ground truths; leave one")
    if policy.choose is not Choice.USER and truth:
        return truth
    return _without_truth(full, policy)


def _without_truth(full: list[Json], policy: Policy) -> list[Json] | str:
    if policy.choose is Choice.GROUND_TRUTH:
        return "no ground truth"
    if policy.choose in (Choice.ONLY, Choice.USER):
        own = [item for item in full if not item.get("ground_truth")]
        if len(own) == 1:
            # A user who also adjudicates has a reading and a ruling; the reading is what the user said first.
            return own
        if len(full) > 1:
            whose = "" if policy.user is None else f" of user {policy.user}"
            remedy = "delete all but one" if whose else f"adjudicate, or choose a user or the majority ({_COMMANDS})"
            raise _refused(f"has several annotations{whose}; {remedy}")
        return full
    known = [user for item in full if (user := user_of(item)) is not None]
    if repeated := sorted({user for user in known if known.count(user) > 1}):
        raise _refused(f"has several annotations of user {repeated[0]}; delete all but one")
    if policy.choose is Choice.ADJUDICATED and len(full) < 2:
        return "one annotator only"
    return full


def _refused(problem: str) -> DocumentError:
    return DocumentError("annotations", problem)


def combined(documents: Sequence[Document], policy: Policy, schema: Schema) -> tuple[Document | None, list[str]]:
    """One document of several readings of the same text, and a sentence for each thing left undecided."""
    first = documents[0]
    if len(documents) == 1:
        return first, []
    merged: Document | None = first
    remarks: list[str] = []
    if policy.choose is Choice.MAJORITY:
        labels, remarks = majority(documents, schema)
        merged = first.with_labels(labels)
    elif layers := disputed(documents):
        return None, [f"in dispute: {', '.join(layers)}"]
    sources: dict[str, Any] = {key: value for key, value in first.source.items() if key != "annotation"}
    sources["annotations"] = tuple(document.source.get("annotation") for document in documents)
    return merged and merged.model_copy(update={"source": FrozenDict(sources)}), remarks


def disputed(documents: Sequence[Document]) -> list[str]:
    """The layers that not all readings label alike, in the order in which they occur."""
    names = dict.fromkeys(name for document in documents for name in document.labels)
    return [name for name in names if len({document.labels.get(name) for document in documents}) > 1]
