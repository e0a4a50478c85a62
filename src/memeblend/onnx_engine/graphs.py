"""From torch modules to ONNX graphs, batch and length dynamic.

Notable: torch's packed sequences have no form in ONNX, but ONNX's own LSTM takes the lengths of its sequences, so the
BiLSTM of texts becomes that operator with the very same weights.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from memeblend.errors import MissingExtraError, ModelError
from memeblend.models.base import EncoderModel
from memeblend.models.encoders import image_states, text_states
from memeblend.models.oscar import OscarClassifier
from memeblend.models.pair import Encoders
from memeblend.models.text import PackedLstm
from memeblend.regions.grid import grid_regions

OPSET = 20
_LSTM_VERSION = 14  # of the operator, in this opset
_GATES = (0, 3, 1, 2)  # torch stacks input, forget, cell, output; ONNX input, output, forget, cell
_BATCH, _LENGTH = 3, 7  # of the memes it is traced with; a size of 1 would be taken for a constant


class Logits(nn.Module):
    """A classifier's logits, in the order of its label tasks."""

    def __init__(self, model: EncoderModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, pixel_values: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Logits [B, num_classes] of each label task, of token ids and mask [B, T] and pixels [B, 3, S, S]."""
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values, branches=())
        return tuple(found.logits.values())


class GridLogits(nn.Module):
    """Logits of OSCAR on grid regions, which the image encoder gives in the same graph."""

    def __init__(self, model: OscarClassifier, encoder: PreTrainedModel, max_regions: int) -> None:
        super().__init__()
        self.model = model
        self.encoder = encoder
        self.max_regions = max_regions

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """As `Logits.forward`; token ids are those of OSCAR's own tokenizer, without object tags."""
        states = image_states(self.encoder, pixel_values).tokens
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=torch.zeros_like(input_ids),
            region_features=torch.cat(grid_regions(states, max_regions=self.max_regions), dim=2),  # [B, R, d + 6]
        )
        return tuple(found.logits.values())


class PooledStates(nn.Module):
    """A pooled state of a classifier: "text", "image" or "fused"."""

    def __init__(self, model: Any, feature: str) -> None:
        super().__init__()
        self.model = model
        self.feature = feature

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, pixel_values: Tensor | None = None
    ) -> tuple[Tensor]:
        """The state [B, d]; inputs as those of `Logits.forward`."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "pixel_values": pixel_values}
        return (self.model.pooled_states(inputs)[self.feature],)


class EncoderState(nn.Module):
    """The pooled "text" or "image" state of encoders as they are."""

    def __init__(self, encoders: Encoders, feature: str) -> None:
        super().__init__()
        self.encoder: nn.Module = encoders.text_model if feature == "text" else encoders.vision_model

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, pixel_values: Tensor | None = None
    ) -> tuple[Tensor]:
        """The state [B, d]; inputs as those of `Logits.forward`."""
        if pixel_values is not None:
            return (image_states(self.encoder, pixel_values).pooled,)
        assert input_ids is not None, "written with the inputs of its feature"
        assert attention_mask is not None, "written with the inputs of its feature"
        return (text_states(self.encoder, input_ids, attention_mask).pooled,)


class _OnnxLstm(nn.Module):
    """ONNX's LSTM operator in place of a `PackedLstm`; can be exported, not run."""

    def __init__(self, lstm: PackedLstm) -> None:
        super().__init__()
        self.hidden_size = lstm.hidden_size
        self.num_layers = lstm.num_layers
        for layer in range(lstm.num_layers):
            both = [_arranged(lstm, f"l{layer}{direction}") for direction in ("", "_reverse")]
            for name, parts in zip("wrb", zip(*both, strict=True), strict=True):
                self.register_buffer(f"{name}{layer}", torch.stack(parts))

    def final_states(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """See `PackedLstm.final_states`."""
        states = tokens.transpose(0, 1)  # [T, B, d]
        length, batch = states.shape[:2]
        final = (2, batch, self.hidden_size)
        hidden = states
        for layer in range(self.num_layers):
            outputs, hidden, _ = torch.onnx.ops.symbolic_multi_out(
                "LSTM",
                (states, *(getattr(self, f"{name}{layer}") for name in "wrb"), lengths.to(torch.int32)),
                {"hidden_size": self.hidden_size, "direction": "bidirectional"},
                dtypes=(states.dtype,) * 3,
                shapes=((length, 2, batch, self.hidden_size), final, final),
                version=_LSTM_VERSION,
            )
            states = outputs.transpose(1, 2).reshape(length, batch, 2 * self.hidden_size)
        return torch.cat([hidden[0], hidden[1]], dim=1)


def _arranged(lstm: PackedLstm, end: str) -> tuple[Tensor, Tensor, Tensor]:
    """Input weights [4h, d], recurrent weights [4h, h] and both biases [8h] of a direction, as ONNX has them."""

    def arranged(name: str) -> Tensor:
        parts = getattr(lstm, f"{name}_{end}").detach().chunk(4)
        return torch.cat([parts[gate] for gate in _GATES])

    return arranged("weight_ih"), arranged("weight_hh"), torch.cat([arranged("bias_ih"), arranged("bias_hh")])


def write_graph(module: nn.Module, path: Path, *, text: bool, image_size: int, num_outputs: int) -> None:
    """Export a module as an ONNX file.

    Args:
        module: takes input_ids and attention_mask, pixel_values, or all three by name and gives a tuple of tensors.
        path: the .onnx file; tensors beyond 2 GB go into a file beside it.
        text: whether it reads texts.
        image_size: side of the images that it reads; 0 where it reads none.
        num_outputs: number of its outputs.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ModelError: torch can't express it in ONNX.
    """
    check_packages()
    inputs: dict[str, Tensor] = {}
    sizes: dict[str, dict[int, str]] = {}
    if text:
        mask = torch.ones(_BATCH, _LENGTH, dtype=torch.int64)
        mask[0, _LENGTH // 2 :] = 0
        inputs |= {"input_ids": mask.clone(), "attention_mask": mask}
        sizes |= {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
    if image_size:
        inputs["pixel_values"] = torch.zeros(_BATCH, 3, image_size, image_size)
        sizes["pixel_values"] = {0: "batch"}
    try:
        with _quiet():
            program = torch.onnx.export(
                _exportable(module),
                (),
                kwargs=inputs,
                dynamic_shapes=sizes,
                output_names=[f"output_{position}" for position in range(num_outputs)],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            assert program is not None, "dynamo gives a program"
            program.save(path)
    except OSError:
        raise  # a full disk is the caller's to tell of
    except Exception as error:
        reason = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"torch could not export '{path.stem}' of '{path.parent.name}': {reason}") from error


def _exportable(module: nn.Module) -> nn.Module:
    """A copy on the CPU with ONNX's LSTM in place of torch's."""
    copied = copy.deepcopy(module).cpu().eval()
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, PackedLstm):
                setattr(parent, name, _OnnxLstm(child))
    return copied


def check_packages() -> None:
    """Refuse to begin without what exporting needs.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    for package in ("onnx", "onnxscript"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(
                f"Exporting needs the package {package}, which is not installed.",
                fix='Install the extra: pip install "memeblend[export]"',
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice for its own developers off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def quantize(paths: Sequence[Path]) -> None:
    """Replace graphs by their dynamically quantised form: weights of matrix products and LSTMs as 8-bit integers.

    Raises:
        MissingExtraError: onnxruntime or onnx is not installed.
    """
    check_packages()
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingExtraError(
            "Quantising needs the package onnxruntime, which is not installed.",
            fix='Install the extra: pip install "memeblend[export]"',
        ) from error
    for path in paths:
        small = path.with_suffix(".int8")
        with _quiet():
            quantize_dynamic(
                path,
                small,
                op_types_to_quantize=["MatMul", "Gemm", "LSTM"],
                per_channel=True,
                weight_type=QuantType.QInt8,
            )
        small.replace(path)
        Path(f"{path}.data").unlink(missing_ok=True)
