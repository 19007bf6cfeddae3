"""Finds suspect labels, from a run's config to files that people and Label Studio read. It knows files and text, no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from annotations.document import Document
from annotations.errors import ConfigError
from annotations.schema import Kind, Schema
from annotations.storage import read_jsonl, write_jsonl, write_text
from annotations.suspects import Suspect, context, read_suspects, write_suspects
from training.config import CrossvalConfig, RunConfig
from training.gold import documents_to_learn
from training.run_directory import CONFIG
from training.suspects.probabilities import out_of_fold
from training.suspects.ranking import Ranking, rank

SUSPECTS, TABLE, DOCUMENTS = "suspects.jsonl", "suspects.md", "documents.jsonl"


def run(config: RunConfig, settings: CrossvalConfig, *, command: str, show: int, say: Callable[[str], None]) -> str:
    """Every label with its suspicion as `suspects.jsonl` in the output folder, the documents beside it; returns `suspects.md`.

    `show`: how many suspects of each layer the text holds.
    """
    schema = config.tagger.label_schema
    gold = documents_to_learn(config, say)
    found = rank(out_of_fold(config, settings, gold, say), schema)
    for label in found.unseen:
        say(f"not judged, as no token shows it: {label}")
    write_jsonl(config.output / DOCUMENTS, gold)
    write_suspects(config.output / SUSPECTS, found.suspects)
    text = markdown(found, gold, schema, command=command, show=show)
    write_text(config.output / TABLE, text)
    return text


def read(folder: Path) -> tuple[Schema, list[Document], list[Suspect]]:
    """What `run` left in its output folder.

    Raises:
        ConfigError: the folder holds no finished search.
        DocumentError: a file of it is broken.
    """
    if missing := [name for name in (CONFIG, DOCUMENTS, SUSPECTS) if not (folder / name).is_file()]:
        raise ConfigError(
            folder, f"has no {', no '.join(missing)}; run `standpoint labels suspects` with --output {folder}"
        )
    schema = RunConfig.load(folder / CONFIG).tagger.label_schema
    documents = list(read_jsonl(folder / DOCUMENTS, schema))
    return schema, documents, read_suspects(folder / SUSPECTS, documents)


def most(suspects: Sequence[Suspect], count: int) -> list[Suspect]:
    """The `count` most suspicious of each layer, in the order given: suspicion is not comparable between layers."""
    taken: dict[str, int] = {}
    found: list[Suspect] = []
    for suspect in suspects:
        taken[suspect.layer] = taken.get(suspect.layer, 0) + 1
        if taken[suspect.layer] <= count:
            found.append(suspect)
    return found


def markdown(found: Ranking, documents: Sequence[Document], schema: Schema, *, command: str, show: int) -> str:
    """The most suspicious labels of each layer, with the text around them."""
    about = (
        "A suspicion is one minus the probability that taggers which never saw the document give to the label; of a span, to the "
        "least likely of its tokens' tags. It ranks labels within a layer. It is no probability of an error: a label may be "
        "suspicious because the model is wrong."
    )
    lines = ["# Suspect labels", "", f"Command: `{command}`", "", about]
    by_id = {document.id: document for document in documents}
    for name in schema.layers:
        own = [suspect for suspect in found.suspects if suspect.layer == name]
        if own:
            lines += ["", *_section(name, own, by_id, schema, show)]
    if found.unseen:
        lines += ["", f"Not judged, as no token of the text shows them: {'; '.join(map(_plain, found.unseen))}."]
    return "\n".join(lines) + "\n"


def _section(
    name: str, suspects: Sequence[Suspect], documents: dict[str, Document], schema: Schema, show: int
) -> Iterator[str]:
    missing = sum(suspect.gold is None for suspect in suspects)
    disputed = sum(suspect.disputed for suspect in suspects) - missing
    kind = schema.layers[name].kind
    lacking = f", and {missing} spans that gold may lack" if kind is Kind.SPANS else ""
    yield f"## {name}"
    yield ""
    yield f"{len(suspects) - missing} labels; the model says something else of {disputed}{lacking}."
    yield ""
    for number, suspect in enumerate(suspects[:show], 1):
        text = documents[suspect.document].text
        place = f"{_plain(suspect.document)} {suspect.start}–{suspect.end}"
        yield f"{number}. **{suspect.suspicion:.2f}** {_plain(suspect.says(text))} ({place})<br>"
        yield f"   {_plain(context(suspect, text, whole=kind is Kind.DOCUMENT))}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|~&!" else letter for letter in " ".join(text.split()))
