"""OSCAR: BERT over text, object tags and image regions (Li et al., ECCV 2020, arXiv:2004.06165).

Notable: the text part is Hugging Face's `BertModel`, layer by layer; regions only make its sequence longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedConfig
from transformers.masking_utils import create_bidirectional_mask

from memeblend.labels import LabelTask
from memeblend.models.base import MemeModel, MemeOutput

NUM_BOX_NUMBERS = 6
"""x1, y1, x2, y2, width and height of a region, each as a share of the image."""


class OscarConfig(PreTrainedConfig):
    """Sizes of an OSCAR model.

    Args:
        bert_config: configuration of BERT, or its dictionary; BERT base when left out.
        label_tasks: label tasks in order, each a `LabelTask` or its dictionary.
        region_size: numbers that describe a region: its features and the six of its box. 2054 in the published model.
        region_norm: layer norm on embedded regions (`use_img_layernorm` in the original configuration).
        region_norm_eps: its epsilon.
        head_dropout: dropout on the pooled [CLS] before the heads.

    Raises:
        ValueError: values that make no sense, all of them named.
    """

    model_type = "memeblend_oscar"
    sub_configs = {"bert_config": BertConfig}  # noqa: RUF012 - Hugging Face reads this class attribute

    def __init__(
        self,
        bert_config: BertConfig | Mapping[str, Any] | None = None,
        label_tasks: Iterable[LabelTask | Mapping[str, Any]] = (),
        *,
        region_size: int = 2048 + NUM_BOX_NUMBERS,
        region_norm: bool = True,
        region_norm_eps: float = 1e-12,
        head_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.bert_config = bert_config if isinstance(bert_config, BertConfig) else BertConfig(**(bert_config or {}))
        tasks = [task if isinstance(task, LabelTask) else LabelTask.from_dict(dict(task)) for task in label_tasks]
        problems = []
        if region_size <= NUM_BOX_NUMBERS:
            problems.append(f"region_size is {region_size}, expected more than the {NUM_BOX_NUMBERS} of a box")
        if not 0 <= head_dropout < 1:
            problems.append(f"head_dropout is {head_dropout}, expected at least 0 and below 1")
        names = [task.name for task in tasks]
        if len(set(names)) != len(names):
            problems.append(f"label_tasks names one twice: {', '.join(names)}")
        if problems:
            raise ValueError("OscarConfig: " + "; ".join(problems))
        self.label_tasks = [task.to_dict() for task in tasks]
        self.region_size = region_size
        self.region_norm = region_norm
        self.region_norm_eps = region_norm_eps
        self.head_dropout = head_dropout
        super().__init__(**kwargs)

    def num_classes(self) -> dict[str, int]:
        """Number of classes of each label task, in order."""
        return {task["name"]: len(task["classes"]) for task in self.label_tasks}


def tiny_bert_config(
    *,
    vocab_size: int,
    pad_token_id: int,
    max_length: int,
    hidden_size: int,
    num_layers: int,
    num_heads: int,
    dropout: float,
) -> BertConfig:
    """Configuration of the embedded BERT, small enough to train from nothing on a CPU core.

    Args:
        vocab_size: number of tokens.
        pad_token_id: id of the padding token.
        max_length: longest text in tokens.
        hidden_size: width.
        num_layers: transformer layers.
        num_heads: attention heads, a divisor of `hidden_size`.
        dropout: dropout on states, attention weights and embedded regions.
    """
    return BertConfig(
        vocab_size=vocab_size,
        pad_token_id=pad_token_id,
        max_position_embeddings=max_length,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # BERT's .02 suits its width and a million steps. Scaled by fan-in, as all our new layers are, a one-layer model
        # of width 96 on 849 memes reached .541 instead of .508 weighted F1 and .512 instead of .472 macro F1 (means of
        # three seeds over four label tasks of cm_memes, on the split that stops the training).
        initializer_range=hidden_size**-0.5,
    )


class OscarClassifier(MemeModel):
    """Classifies a meme by the [CLS] state of BERT over `[CLS] ocr_text [SEP] object tags [SEP]` and regions.

    A region is embedded as dropout(LayerNorm(W r + b)) and carries no position or segment; its box numbers say where
    it is. Attention is full: every token and region sees all others.
    """

    branches = ("fused",)
    main_input_name = "input_ids"
    config: OscarConfig  # type: ignore[assignment]  # its base has the configuration of encoder models
    config_class = OscarConfig  # type: ignore[assignment]

    def __init__(self, config: OscarConfig) -> None:
        super().__init__(config)
        width = config.bert_config.hidden_size
        self.bert = BertModel._from_config(config.bert_config)
        self.region_embedding = nn.Linear(config.region_size, width)
        self.region_norm = nn.LayerNorm(width, config.region_norm_eps) if config.region_norm else nn.Identity()
        self.region_dropout = nn.Dropout(config.bert_config.hidden_dropout_prob)
        self.head_dropout = nn.Dropout(config.head_dropout)
        # Kept by position: a label task may be called "keys" or "a.b", which PyTorch refuses as a module name.
        self.heads = nn.ModuleList(nn.Linear(width, number) for number in config.num_classes().values())
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        region_features: Tensor | None = None,
        region_mask: Tensor | None = None,
        branches: Collection[str] | None = None,
    ) -> MemeOutput:
        """Logits of the "fused" branch.

        Args:
            input_ids: token ids [B, T], padded on the right.
            attention_mask: [B, T], 1 for tokens and 0 for padding; all tokens when left out.
            token_type_ids: [B, T], 0 up to the first [SEP] and 1 for object tags; all 0 when left out.
            region_features: [B, R, region_size], features then box numbers; no regions when left out.
            region_mask: [B, R], 1 for regions and 0 for padding; all regions when left out.
            branches: not read; there is one.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.bert.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)  # [B, T, d]
        if region_features is not None:
            regions = self.region_dropout(self.region_norm(self.region_embedding(region_features)))  # [B, R, d]
            if region_mask is None:
                region_mask = mask.new_ones(regions.shape[:2])
            states = torch.cat([states, regions], dim=1)  # [B, T + R, d]
            mask = torch.cat([mask, region_mask.to(mask.dtype)], dim=1)  # [B, T + R]
        key_mask = create_bidirectional_mask(config=self.bert.config, inputs_embeds=states, attention_mask=mask)
        states = self.bert.encoder(states, attention_mask=key_mask).last_hidden_state
        pooled = self.head_dropout(self.bert.pooler(states))  # [B, d]
        names = self.config.num_classes()
        return self.output({"fused": {name: head(pooled) for name, head in zip(names, self.heads, strict=True)}})
