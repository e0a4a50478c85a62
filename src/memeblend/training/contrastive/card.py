"""The model card of a pre-trained encoder."""

from __future__ import annotations

from typing import Any

from memeblend.evaluation.retrieval import RECALL_AT
from memeblend.recipe.parts import Encoder
from memeblend.training.encoder import shown_source

_LIMITS = """\
## Limits

- Recall is on pairs of the same data sets that were held back; it says nothing of classifying memes.
- Memes of these data sets are offensive in part, and what the encoder learned of people comes from them.
- The image processor's configuration names a centre crop, which is how other tools will read images; memeblend fitted
  them as `encoder.image_fit` above says.
"""


def card_text(facts: dict[str, Any]) -> str:
    """Markdown from what `pretrain` knows of an encoder: data, steps, scores, limits."""
    data, held_back, settings = facts["data"], facts["held_back"], facts["settings"]
    encoder = settings["encoder"]
    sources = ", ".join(f"{name} ({count:,})" for name, count in data["pairs_of"].items())
    skipped = ", ".join(f"{reason} ({count:,})" for reason, count in data["skipped"].items()) or "none"
    lines = [
        "---",
        "tags: [memes, memeblend]",
        "---",
        "",
        f"# {facts['encoder']} pre-trained on memes",
        "",
        f"{facts['num_parameters']:,} parameters, contrastive on {data['num_fit']:,} pairs of image and text with "
        f"{data['num_images']:,} distinct images: {sources}. Memes left out: {skipped}.",
        "",
        f"Started from {shown_source(Encoder.model_validate(encoder))}; {settings['num_steps']:,} steps of "
        f"{settings['batch_size']:,} pairs, loss {settings['loss']}, same pairs: {settings['same_pairs']}, texts drawn "
        f'onto templates: {settings["rendering"]["share"]:.0%}, `encoder.image_fit = "{encoder["image_fit"]}"`.',
        "",
        f"{data['num_held_back']:,} pairs were held back ({held_back['num_texts']:,} texts, "
        f"{held_back['num_images']:,} images; templates blank):",
        "",
        "| recall | chance | before | after |",
        "|---|---|---|---|",
    ]
    for kind, what in (("image", "image of a text"), ("text", "text of an image")):
        for k in RECALL_AT:
            values = [held_back[when][f"{kind}_recall@{k}"] for when in ("chance", "before", "after")]
            lines.append(f"| {what} @{k} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    before, after = held_back["before"]["loss"], held_back["after"]["loss"]
    lines += [
        "",
        f"Loss in batches of {settings['validation_batch_size']}: {before:.3f} before, {after:.3f} after.",
        "",
    ]
    return "\n".join(lines) + "\n" + _LIMITS
