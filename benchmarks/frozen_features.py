"""Epochs from cached states against end-to-end epochs with trained encoders, for each kind of candidate.

The rival is what `encoders = "trained"` does: the same memes, batches and heads, the encoders run and trained in every
step. With the embedded encoder and with one of ViT-B/32's size (random weights). `ratio` = end-to-end over cached
seconds an epoch; `encode_seconds` is paid once, whatever is trained on the states afterwards.

    python benchmarks/frozen_features.py [--json]
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from transformers import CLIPConfig, CLIPModel

from common import Ready, conclude, epoch_seconds, sample_ready, wants_json
from memeblend.models import build_model
from memeblend.models.base import EncoderModel
from memeblend.models.config import MemeConfig, StatesType
from memeblend.models.factory import ModelKind
from memeblend.recipe import load_recipe
from memeblend.recipe.parts import CrossEntropy
from memeblend.training.batches import MemeDataset
from memeblend.training.encoder import start_encoders
from memeblend.training.features import state_dataset, without_encoders
from memeblend.training.objective import make_objective

KINDS: dict[str, tuple[ModelKind, tuple[str, ...]]] = {
    "image_head": ("image", ("image",)),  # an MLP on the pooled state
    "pooled_heads": ("align", ("image", "fused")),  # MLPs on the pooled states of both, and on their product
    "text_with_lstm": ("text", ("text",)),  # an MLP on the pooled state, a BiLSTM and one on all tokens
    "token_fusion": ("fusion", ("fused",)),  # attention over all tokens and patches
}
SIZES = {  # memes, end-to-end epochs, cached epochs
    "tiny": (192, 2, 5),
    "vit_b_32": (32, 1, 5),
}


def main() -> None:
    """Time both."""
    as_json = wants_json(__doc__)
    found: dict[str, Any] = {"rival": "encoders trained end to end"}
    for size, (num_memes, num_rival, num_cached) in SIZES.items():
        patches = ["encoder.tiny.image_size=224", "encoder.tiny.patch_size=32"] if size == "vit_b_32" else []
        recipe = load_recipe("tiny", patches)
        with sample_ready(recipe, num_memes) as ready:
            clip = (
                start_encoders(recipe.encoder, ready.memes.preprocessor) if size == "tiny" else CLIPModel(CLIPConfig())
            )
            parts = {name: compare(ready, clip, name, num_rival, num_cached) for name in KINDS}
        found[size] = {"num_memes": num_memes, **parts}
    conclude(found, as_json)


def compare(ready: Ready, clip: CLIPModel, name: str, num_rival: int, num_cached: int) -> dict[str, float]:
    """Median seconds of both kinds of epoch, their ratio, and the seconds that encoding took."""
    kind, branches = KINDS[name]
    tasks, memes = ready.manifest.label_tasks, ready.memes
    objective = make_objective(
        tasks, {task.name: CrossEntropy() for task in tasks}, ready.labels, dict.fromkeys(branches, 1.0)
    )
    frozen = _model(kind, clip, ready, "bfloat16").eval()
    began = time.perf_counter()
    states = state_dataset(frozen, memes, ready.labels, branches)
    encoding = time.perf_counter() - began
    with without_encoders(frozen):
        frozen.train()
        cached = statistics.median([epoch_seconds(frozen, objective, states, epoch) for epoch in range(num_cached)])
    dataset = MemeDataset(memes, ready.labels, text=kind != "image", image=kind != "text")
    trained = _model(kind, clip, ready, "float32").train()
    whole = statistics.median([epoch_seconds(trained, objective, dataset, epoch) for epoch in range(num_rival)])
    return {
        "end_to_end_seconds": round(whole, 3),
        "cached_seconds": round(cached, 4),
        "encode_seconds": round(encoding, 3),
        "ratio": round(whole / cached, 1),
    }


def _model(kind: ModelKind, clip: CLIPModel, ready: Ready, states: StatesType) -> EncoderModel:
    tasks = ready.manifest.label_tasks
    config = MemeConfig(clip.config, tasks, encoder_states=states, lstm_hidden_size=128, projection_size=128)
    return build_model(kind, config, clip)


if __name__ == "__main__":
    main()
