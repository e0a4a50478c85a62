"""The one configuration of all memeblend models, in Hugging Face's own format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from transformers import CONFIG_MAPPING, AutoConfig, CLIPConfig, PreTrainedConfig

from memeblend.labels import LabelTask

TextState = Literal["eos", "bos"]
StatesType = Literal["float32", "bfloat16"]


class MemeConfig(PreTrainedConfig):
    """Sizes and switches of a model; defaults are the paper's (section 3) where it states them.

    A model reads the parts that concern it: `lstm_*` belong to the text branch, `num_blocks` to `text_state`
    to fusion, `projection_*`, `product_dropout`, `num_hidden` and `hidden_dropout` to align.

    Args:
        encoder_config: configuration of the encoders, that of a CLIP, a SigLIP or a VisionTextDualEncoder, or its
            dictionary; CLIP ViT-B/32 when left out.
        label_tasks: label tasks in order, each a `LabelTask` or its dictionary.
        head_dropout: dropout inside every classifier head.
        lstm_hidden_size: width of the BiLSTM in each direction; the text encoder's width when left out.
        lstm_layers: layers of the BiLSTM.
        lstm_packed: whether the BiLSTM stops at each text's end. The paper's released code lets it read the padding
            too, so that predictions depend on how far a batch is padded.
        num_blocks: self-attention blocks of the fusion.
        num_heads: attention heads of each block.
        residual: add each block's input to its output. The paper removed this.
        norm: layer norm before each block. The paper has none.
        attention_dropout: dropout on the attention weights. The paper removed it, its released code has .1.
        text_state: "eos", the end token's state, which has seen the text (the paper's F_cls,t; of encoders that are
            pooled by their mean, that mean), or "bos", the
            begin token's, which under CLIP's causal mask has not (its released code).
        projection_size: width of the space in which align multiplies text and image features.
        projection_dropout: dropout after the projections.
        product_dropout: dropout on the product.
        num_hidden: hidden layers between the product and the heads.
        hidden_dropout: dropout after each of them.
        encoder_states: "bfloat16" rounds the encoders' states to what it can hold before anything reads them. Models
            with frozen encoders have it, so that they predict from what they were trained on: states on disk.

    Raises:
        ValueError: values that make no sense, all of them named.
    """

    model_type = "memeblend"
    sub_configs = {"encoder_config": AutoConfig}  # noqa: RUF012 - Hugging Face reads this class attribute

    def __init__(
        self,
        encoder_config: PreTrainedConfig | Mapping[str, Any] | None = None,
        label_tasks: Iterable[LabelTask | Mapping[str, Any]] = (),
        *,
        head_dropout: float = 0.1,
        lstm_hidden_size: int | None = None,
        lstm_layers: int = 2,
        lstm_packed: bool = True,
        num_blocks: int = 6,
        num_heads: int = 8,
        residual: bool = False,
        norm: bool = False,
        attention_dropout: float = 0.0,
        text_state: TextState = "eos",
        projection_size: int = 1024,
        projection_dropout: float = 0.1,
        product_dropout: float = 0.4,
        num_hidden: int = 1,
        hidden_dropout: float = 0.2,
        encoder_states: StatesType = "float32",
        **kwargs: Any,
    ) -> None:
        self.encoder_config = _config_of(encoder_config)
        self.label_tasks = [
            task.to_dict() if isinstance(task, LabelTask) else LabelTask.from_dict(dict(task)).to_dict()
            for task in label_tasks
        ]
        self.head_dropout = head_dropout
        self.lstm_hidden_size = self.text_width if lstm_hidden_size is None else lstm_hidden_size
        self.lstm_layers = lstm_layers
        self.lstm_packed = lstm_packed
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.residual = residual
        self.norm = norm
        self.attention_dropout = attention_dropout
        self.text_state = text_state
        self.projection_size = projection_size
        self.projection_dropout = projection_dropout
        self.product_dropout = product_dropout
        self.num_hidden = num_hidden
        self.hidden_dropout = hidden_dropout
        self.encoder_states = encoder_states
        self._check()
        super().__init__(**kwargs)

    def _check(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}, expected at least {least}"
            for name, least in _LEAST.items()
            if getattr(self, name) < least
        ]
        problems += [
            f"{name} is {getattr(self, name)}, expected at least 0 and below 1"
            for name in _DROPOUTS
            if not 0 <= getattr(self, name) < 1
        ]
        if self.num_heads > 0 and self.text_width % self.num_heads:
            problems.append(f"num_heads is {self.num_heads}, expected a divisor of the text width {self.text_width}")
        if self.text_state not in ("eos", "bos"):
            problems.append(f"text_state is '{self.text_state}', expected 'eos' or 'bos'")
        if self.encoder_states not in ("float32", "bfloat16"):
            problems.append(f"encoder_states is '{self.encoder_states}', expected 'float32' or 'bfloat16'")
        names = [task["name"] for task in self.label_tasks]
        if len(set(names)) != len(names):
            problems.append(f"label_tasks names one twice: {', '.join(names)}")
        if problems:
            raise ValueError("MemeConfig: " + "; ".join(problems))

    @property
    def text_config(self) -> Any:
        """Configuration of the text encoder."""
        return self.encoder_config.text_config

    @property
    def vision_config(self) -> Any:
        """Configuration of the image encoder."""
        return self.encoder_config.vision_config

    @property
    def text_width(self) -> int:
        """d_t, width of the text encoder's states."""
        return _width(self.text_config)

    @property
    def image_width(self) -> int:
        """d_i, width of the image encoder's states."""
        return _width(self.vision_config)

    def num_classes(self) -> dict[str, int]:
        """Number of classes of each label task, in order."""
        return {task["name"]: len(task["classes"]) for task in self.label_tasks}


_LEAST = {
    "lstm_hidden_size": 1,
    "lstm_layers": 1,
    "num_blocks": 1,
    "num_heads": 1,
    "projection_size": 1,
    "num_hidden": 0,
}
_DROPOUTS = ("head_dropout", "attention_dropout", "projection_dropout", "product_dropout", "hidden_dropout")


def _config_of(given: PreTrainedConfig | Mapping[str, Any] | None) -> Any:
    if isinstance(given, PreTrainedConfig):
        return given
    values = dict(given or {})
    kind = values.pop("model_type", CLIPConfig.model_type)
    return CONFIG_MAPPING[kind](**values)


def _width(config: Any) -> int:
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise ValueError(f"an encoder of the kind '{config.model_type}' names no hidden_size, the width of its states")
    return width
