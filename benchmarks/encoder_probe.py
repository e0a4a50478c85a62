"""What an encoder's states know of labels before anything is trained on them: ridge regression on frozen states.

    python benchmarks/encoder_probe.py ENCODER [--data ../shared/data] [--sets cm_memes harmeme] [--seeds 0 1 2]

Compares the pooled states of ENCODER (`make pretrain-embedded`) with those of an encoder of the same shape and random
weights, and its text states with those of all-MiniLM-L6-v2 (extra `minilm`), on the set's train and validation splits.
The strength of the regression is chosen by leaving one out within train; the seed draws the random weights. Prints
Markdown: means over label tasks and seeds, 95 % bootstrap intervals over duplicate groups, seeds held fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer, CLIPModel

from common import quiet
from comparing import METRICS, difference, of_tables, with_interval
from memeblend import Manifest
from memeblend.candidates.features import encoder_pooled, pooled
from memeblend.data.cache import default_cache_dir
from memeblend.data.duplicates import duplicate_groups
from memeblend.evaluation.tables import PredictionTable
from memeblend.models.pair import minilm_folder
from memeblend.recipe.parts import Encoder
from memeblend.training.encoder import make_preprocessor
from memeblend.training.preprocessing import prepare

RANDOM, PRETRAINED, OTHER = "random", "pre-trained", "MiniLM"
_BATCH, _MINILM_TOKENS = 64, 128
States = NDArray[np.float32]


def main() -> None:
    """Probe and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["cm_memes", "harmeme"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    quiet()
    for name in given.sets:
        _probe(name, Manifest.read(given.data / name), given.encoder, given.seeds)


def _probe(name: str, manifest: Manifest, encoder: Path, seeds: Sequence[int]) -> None:
    groups = duplicate_groups(manifest, cache_dir=default_cache_dir())
    clip = CLIPModel.from_pretrained(encoder).eval()
    known = _clip_states(clip, manifest, encoder) | {"minilm": _minilm_states(manifest.texts)}
    scores = {}
    for seed in seeds:
        torch.manual_seed(seed)
        drawn = _clip_states(CLIPModel(clip.config).eval(), manifest, encoder)
        ways = {
            (RANDOM, "text"): [drawn["text"]],
            (PRETRAINED, "text"): [known["text"]],
            (OTHER, "text"): [known["minilm"]],
            (RANDOM, "image"): [drawn["image"]],
            (PRETRAINED, "image"): [known["image"]],
            (RANDOM, "text and image"): [drawn["text"], drawn["image"]],
            (PRETRAINED, "text and image"): [known["text"], known["image"]],
            (OTHER, "text and image"): [known["minilm"], known["image"]],
        }
        for (way, reads), parts in ways.items():
            tables = _tables(np.concatenate(parts, axis=1), manifest, groups)
            scores[reads, way, seed] = of_tables(tables)
    print(f"\n### {name}\n\n| states of | encoder | weighted F1 | macro F1 | against random |\n|---|---|---|---|---|")
    for reads, way in dict.fromkeys((reads, way) for reads, way, _ in scores):
        mine, random = ([scores[reads, one, seed] for seed in seeds] for one in (way, RANDOM))
        shown = [with_interval([one[:, index] for one in mine]) for index in range(len(METRICS))]
        weighted = ([one[:, 0] for one in side] for side in (mine, random))
        print(f"| {reads} | {way} | {' | '.join(shown)} | {'' if way == RANDOM else difference(*weighted)} |")


def _clip_states(clip: CLIPModel, manifest: Manifest, encoder: Path) -> dict[str, States]:
    """Pooled states [num_memes, d] of texts and images."""
    memes = prepare(manifest, make_preprocessor(Encoder(source=str(encoder)), []), cache_dir=default_cache_dir())
    return {
        feature: pooled(encoder_pooled(clip, feature), memes, text=feature == "text", image=feature == "image")
        for feature in ("text", "image")
    }


@torch.inference_mode()
def _minilm_states(texts: Sequence[str]) -> States:
    """Sentence embeddings [num_memes, 384]: the mean over a text's tokens, as the model's authors take it."""
    folder = minilm_folder()
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = []
    for start in range(0, len(texts), _BATCH):
        part = [text or " " for text in texts[start : start + _BATCH]]
        inputs = tokenizer(part, padding=True, truncation=True, max_length=_MINILM_TOKENS, return_tensors="pt")
        tokens = model(**inputs).last_hidden_state  # [B, L, 384]
        mask = inputs["attention_mask"].unsqueeze(-1)  # [B, L, 1]
        found.append((tokens * mask).sum(dim=1) / mask.sum(dim=1))
    return torch.cat(found).numpy()


def _tables(states: States, manifest: Manifest, groups: NDArray[np.int64]) -> dict[str, PredictionTable]:
    """Predictions on validation from a regression on train, for each label task."""
    fit, report = manifest.splits == "train", manifest.splits == "validation"
    found = {}
    for task in manifest.label_tasks:
        labels = manifest.labels(task.name)
        rows = fit & (labels >= 0)
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(1, 5, 9)))
        predicted = model.fit(states[rows], labels[rows]).predict(states[report])
        found[task.name] = PredictionTable(
            candidate="probe",
            label_task=task,
            meme_ids=manifest.table["meme_id"].to_numpy(dtype=np.str_)[report],
            splits=manifest.splits[report],
            groups=groups[report],
            labels=labels[report],
            probabilities=np.eye(task.num_classes)[predicted],
            manifest_fingerprint=manifest.fingerprint,
        )
    return found


if __name__ == "__main__":
    main()
