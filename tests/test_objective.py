"""The loss: unannotated layers add nothing, gold in the logits makes it vanish, rare classes weigh more."""

from __future__ import annotations

import pytest
import torch
from conftest import annotate

from annotations.document import Document
from inference.config import TaggerConfig
from inference.model import Logits
from inference.tagger import Tagger
from training.config import ObjectiveConfig
from training.data import collate_rows, dataset
from training.objective import Objective, class_weights

TEXT = "The Taliban met. Al-Qaeda denied it. Others left."


def _loss(documents: list[Document], tagger: Tagger, config: TaggerConfig, weights: dict[str, float]) -> torch.Tensor:
    data = dataset(documents, tagger.tokenizer, config)
    batch = collate_rows(list(data), config, tagger.tokenizer.pad_token_id)
    gold, owners = batch.pop("gold"), batch.pop("owners")
    schema = config.label_schema
    objective = Objective(schema, ObjectiveConfig(layer_weights=weights), class_weights(data, schema, 0.5))
    tagger.engine.model.eval()
    loss: torch.Tensor = objective(tagger.engine.model(**batch), gold, owners)
    return loss


def test_an_unannotated_layer_adds_nothing(tagger: Tagger, config: TaggerConfig) -> None:
    full = annotate("a", TEXT, [("Taliban", "MILITANT_GROUP")], target="A claim.")
    parts = [full.with_labels({name: value}) for name, value in full.labels.items()]
    whole = _loss([full], tagger, config, {})
    assert sum(_loss([part], tagger, config, {}) for part in parts).item() == pytest.approx(whole.item(), rel=1e-5)
    assert _loss([full.with_labels({})], tagger, config, {}).item() == 0.0


def test_layer_weights_scale_their_layer(tagger: Tagger, config: TaggerConfig) -> None:
    full = annotate("a", TEXT, [("Taliban", "MILITANT_GROUP")], target="A claim.")
    off = {"stance": 0.0, "document": 0.0}
    entity = full.with_labels({"entity": full.labels["entity"]})
    assert _loss([full], tagger, config, off).item() == pytest.approx(
        _loss([entity], tagger, config, {}).item(), rel=1e-5
    )


def test_a_batch_mixes_documents_with_any_layers(tagger: Tagger, config: TaggerConfig) -> None:
    full = annotate("a", TEXT, [("Taliban", "MILITANT_GROUP")], target="A claim.")
    other = annotate("b", "Kabul fell.", [("Kabul", "LOCATION")])
    bare = Document(id="c", text="Nothing here.")
    loss = _loss([full, other, bare], tagger, config, {})
    loss.backward()
    assert loss.item() > 0
    assert all(p.grad is not None for name, p in tagger.engine.model.named_parameters() if "heads" in name)
    tagger.engine.model.zero_grad(set_to_none=True)


def test_a_text_with_many_targets_takes_their_place_in_a_batch(tagger: Tagger, config: TaggerConfig) -> None:
    claims = [annotate(f"a{number}", "Kabul fell.", [], target=f"It is {number}.") for number in range(40)]
    few, many = (dataset(some, tagger.tokenizer, config)["length"][0] for some in (claims[:1], claims))
    assert few == len(tagger.encode(claims[:1])[0].ids)
    assert many == sum(map(len, tagger.encode(claims)[0].targets)) > 10 * few


def test_rare_classes_weigh_more_and_the_mean_weight_is_one(tagger: Tagger, config: TaggerConfig) -> None:
    documents = []
    for number in range(4):
        document = annotate(str(number), TEXT, [], target="A claim.")
        stance = [
            span.model_copy(update={"label": "denies"}) if number == 0 else span for span in document.spans("stance")
        ]
        documents.append(document.with_labels({**document.labels, "stance": tuple(stance)}))
    data = dataset(documents, tagger.tokenizer, config)
    weights = class_weights(data, config.label_schema, 1.0)["stance"]
    _, denies, neutral = weights.tolist()
    assert denies == pytest.approx(3 * neutral)
    assert (3 * denies + 9 * neutral) / 12 == pytest.approx(1.0)
    assert class_weights(data, config.label_schema, 0.0)["stance"].tolist() == pytest.approx([1.0] * 3)


def test_the_loss_of_perfect_logits_vanishes(tagger: Tagger, config: TaggerConfig) -> None:
    document = annotate("a", TEXT, [("Taliban", "MILITANT_GROUP")], target="A claim.")
    data = dataset([document], tagger.tokenizer, config)
    batch = collate_rows(list(data), config, tagger.tokenizer.pad_token_id)
    gold, schema = batch["gold"], config.label_schema

    def sure(name: str, width: int) -> torch.Tensor:
        return 50.0 * torch.nn.functional.one_hot(gold[name].clamp(min=0), width)

    logits = Logits(
        tokens={"entity": sure("entity", 19)},
        sentences={"stance": sure("stance", 3)},
        votes={"document": sure("document", 3)},
        weights={"document": torch.ones(len(gold["document"]))},
    )
    objective = Objective(schema, ObjectiveConfig(), class_weights(data, schema, 0.5))
    assert objective(logits, gold, batch["owners"]).item() < 1e-6
