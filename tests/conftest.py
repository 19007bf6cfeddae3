"""Tiny real parts made on the spot: tokenizers of each family, encoders with random weights, a trained tagger."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Of processes that tests start too: several run at once, and threads that wait for each other would fill the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings
from small_sets import write_sets
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    BertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)
from xdist.scheduler import LoadFileScheduling

from annotations.document import Document, Label, Span
from annotations.schema import Schema
from annotations.sentences import sentences
from inference.config import TaggerConfig
from inference.tagger import Tagger

if TYPE_CHECKING:
    from annotations.labelstudio.local_server import LocalServer
    from annotations.labelstudio.server import Server

ROOT = Path(__file__).parent.parent
# A job in the background of a script starts with Ctrl-C ignored, and so would every process that a test wants to interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The models are tiny: a second thread costs more than it brings.
torch.set_num_threads(1)
LABEL_STUDIO = Path(os.environ.get("STANDPOINT_LABEL_STUDIO", ROOT / ".venv-labelstudio" / "bin" / "label-studio"))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FAMILIES = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",
    "electra": "wordpiece",
    "modernbert": "byte-bpe",
    "roberta": "byte-bpe",
    "deberta-v2": "unigram",
    "xlm-roberta": "unigram",
}

settings.register_profile(
    "suite", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("suite")


PUBLISHED = {
    "bert's own": BertTokenizer,
    "roberta's own": RobertaTokenizer,
    "xlm-roberta's own": XLMRobertaTokenizer,
    "deberta's own": DebertaV2Tokenizer,
}
"""Classes that hub encoders name; each brings its own way to normalise and split. ELECTRA and DistilBERT have BERT's."""


def seed_text() -> str:
    """The raw seed articles, as something to learn pieces from."""
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "seeds").glob("*.txt")))


def common_pieces(tokenizer: Tokenizer, inner: str, first: str, size: int) -> list[tuple[str, float]]:
    """Characters, then the substrings of words that cover most of the seed articles, each with the logarithm of its share.

    The trainers of word-piece and unigram tokenizers break ties, and number characters, otherwise in every process: what tests
    train on such pieces would differ from run to run. `inner` marks a piece that begins no word, `first` one that does.
    """
    text = tokenizer.normalizer.normalize_str(seed_text())
    words = Counter(word.removeprefix(first) for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    covered: Counter[str] = Counter()
    for word, count in words.items():
        for start, end in combinations(range(len(word) + 1), 2):
            covered[(inner if start else first) + word[start:end]] += count * (end - start)
    single = {mark + one for word in words for one in word for mark in (inner, first)}
    longer = sorted(covered.keys() - single, key=lambda piece: (-covered[piece], piece))
    whole = sum(covered.values())
    return [(piece, log(max(covered[piece], 1) / whole)) for piece in [*sorted(single), *longer][:size]]


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A tokenizer of about 400 pieces of the seed articles."""
    if family in PUBLISHED:
        return PUBLISHED[family]().train_new_from_iterator(seed_text().splitlines(), 400, show_progress=False)
    if family == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        pieces = [*SPECIAL, *(piece for piece, _ in common_pieces(tokenizer, "##", "", 395))]
        tokenizer.model = models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]")
    elif family == "byte-bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(seed_text().splitlines(), trainer)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        pieces = [*((name, 0.0) for name in SPECIAL), ("▁", -20.0), *common_pieces(tokenizer, "", "▁", 394)]
        tokenizer.model = models.Unigram(pieces, SPECIAL.index("[UNK]"))
    tokenizer.add_special_tokens(SPECIAL)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def make_encoder(folder: Path, architecture: str) -> Path:
    """A checkpoint of a real architecture with random weights: 2 layers, 32 wide."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(FAMILIES[architecture])
    sizes = (
        {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2}
        if architecture == "distilbert"
        else {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    )
    own = {"embedding_size": 32} if architecture == "electra" else {}
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        max_position_embeddings=304,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
        **own,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Architecture name to the folder of its tiny checkpoint."""
    made: dict[str, Path] = {}

    def get(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = make_encoder(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return get


@pytest.fixture(scope="session")
def tiny(encoders: Callable[[str], Path]) -> Path:
    """The folder of a tiny encoder of the default one's architecture."""
    return encoders("modernbert")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all public sets in their own formats, a handful of sentences each."""
    folder = tmp_path_factory.mktemp("data")
    write_sets(folder)
    return folder


@pytest.fixture(scope="session")
def schema() -> Schema:
    """The default schema."""
    return Schema.load(ROOT / "configs" / "schema.yaml")


@pytest.fixture(scope="session")
def config(schema: Schema) -> TaggerConfig:
    """Small windows, so that short texts make several of them."""
    return TaggerConfig.build(
        {
            "label_schema": schema.model_dump(mode="json"),
            "window": {"tokens": 48, "context": 8},
            "reader": {"heads": 2},
            "batch_tokens": 256,
        },
        where="test",
    )


@pytest.fixture(scope="session")
def tagger(encoders: Callable[[str], Path], config: TaggerConfig) -> Tagger:
    """A tagger with random heads."""
    from inference.checkpoint import from_encoder

    torch.manual_seed(1)
    model, tokenizer = from_encoder(str(encoders("modernbert")), config, 0.1)
    return Tagger(model, tokenizer, config)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, tagger: Tagger) -> Path:
    """The checkpoint folder of the tagger with random heads; read it, write nothing into it."""
    from inference import checkpoint

    folder = tmp_path_factory.mktemp("model")
    checkpoint.save(folder, tagger.engine.model, tagger.tokenizer)
    return folder


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped configs name files relative to the repository."""
    monkeypatch.chdir(ROOT)


class ByFile(LoadFileScheduling):
    """A file's tests stay together, and so do all files whose tests need the Label Studio server, which starts once."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(super()._split_scope(nodeid))


@cache
def scope(file: str) -> str:
    """What a file's tests are kept together with; asked for each of them."""
    return "Label Studio" if "staff: Staff" in (ROOT / file).read_text("utf-8") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile | None:
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@dataclass
class Staff:
    """A running server, its administrator and two annotators."""

    local: LocalServer
    admin: Server
    token: str
    readers: dict[str, Server]
    users: dict[str, int]


@pytest.fixture(scope="session")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staff]:
    if os.environ.get("STANDPOINT_SKIP_SERVER") == "1":
        pytest.skip("STANDPOINT_SKIP_SERVER=1")
    if not LABEL_STUDIO.exists():
        pytest.fail(
            f"no Label Studio server at {LABEL_STUDIO}; `make test` installs it (or set STANDPOINT_SKIP_SERVER=1)"
        )
    # The SDK takes a second to load; most tests do without.
    from annotations.labelstudio.local_server import LocalServer
    from annotations.labelstudio.server import Server

    with LocalServer(LABEL_STUDIO, tmp_path_factory.mktemp("labelstudio")) as local:
        readers = {}
        for name in ("ana", "ben"):
            local.add_user(f"{name}@example.org", f"secret of {name}")
            readers[name] = Server(local.url, local.token(f"{name}@example.org", f"secret of {name}"))
        users = {name: reader.whoami()["id"] for name, reader in readers.items()}
        token = local.token()
        yield Staff(local, Server(local.url, token), token, readers, users)


def annotate(name: str, text: str, spans: list[tuple[str, str]], **rest: str) -> Document:
    """A document of the default schema: spans by (surface, label), every sentence neutral when it has a target."""
    found = []
    for surface, label in spans:
        start = text.index(surface)
        found.append(Span(start=start, end=start + len(surface), label=label))
    labels: dict[str, tuple[Span, ...] | Label] = {"entity": tuple(sorted(found, key=lambda span: span.start))}
    if rest.get("target"):
        labels["stance"] = tuple(Span(start=s, end=e, label="neutral") for s, e in sentences(text))
        labels["document"] = Label(label="neutral")
    return Document(id=name, text=text, labels=labels, **rest)
