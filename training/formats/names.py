"""The names of the file formats that `standpoint labels convert` knows; no more, so that `--help` loads nothing."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What a file holds."""

    AUTO = "auto"
    """Found out from the file's name and first line."""
    DOCUMENTS = "documents"
    """Our JSON Lines."""
    LABELSTUDIO = "labelstudio"
    """Label Studio's JSON export, or tasks with annotations to import there."""
    CONLL = "conll"
    """Columns, the tag in the last; also in a tar or zip archive."""
    WNUT = "wnut"
    """Columns, the tag in the second, nested tags behind it; written without -DOCSTART-."""
    BRAT = "brat"
    """A folder of .txt and .ann files."""
    DOCCANO = "doccano"
    """JSON Lines."""
    SPACY = "spacy"
    """A DocBin."""
    DATASETS = "datasets"
    """A folder saved by Hugging Face `datasets`, or a Parquet file."""
    GMB = "gmb"
    """The zipped CSV of the Groningen Meaning Bank; reading only."""


SCHEMA_BOUND = (Format.DOCUMENTS, Format.LABELSTUDIO)
"""Formats whose documents have layers that a schema must declare; the others give one layer of spans."""
READ_ONLY = (Format.AUTO, Format.GMB)
"""What cannot be written."""
