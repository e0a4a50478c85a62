"""The text branch and CLIP-text (paper section 3, figure 1a)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from memeblend.models.base import EncoderModel, LabelTaskLogits, MemeOutput, Reading
from memeblend.models.config import MemeConfig
from memeblend.models.encoders import EncoderStates, new_encoder, rounded, text_mask, text_pooling, text_states
from memeblend.models.heads import LabelTaskHeads


class PackedLstm(nn.LSTM):
    """A bidirectional LSTM over texts of different lengths."""

    def final_states(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Final states h [B, 2 * hidden_size] of the last layer, forward then backward.

        Args:
            tokens: states [B, T, d] of texts padded on the right.
            lengths: of the texts [B].
        """
        packed = pack_padded_sequence(tokens, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self(packed)  # [2 * layers, B, hidden_size]
        return torch.cat([hidden[-2], hidden[-1]], dim=1)


class TextBranch(nn.Module):
    """Text encoder, heads on its pooled state, and heads on a BiLSTM over all its states; logits are summed.

    The BiLSTM reads packed sequences, so a prediction does not depend on how far its batch was padded; unless
    `lstm_packed` says otherwise.
    """

    def __init__(self, config: MemeConfig) -> None:
        super().__init__()
        self.states_type = config.encoder_states
        self.packed = config.lstm_packed
        self.pooling = text_pooling(config.text_config)
        self.text_model = new_encoder(config.text_config)
        self.lstm = PackedLstm(
            config.text_width, config.lstm_hidden_size, config.lstm_layers, batch_first=True, bidirectional=True
        )
        self.pooled_heads = LabelTaskHeads(config.text_width, config.num_classes(), config.head_dropout)
        self.sequence_heads = LabelTaskHeads(2 * config.lstm_hidden_size, config.num_classes(), config.head_dropout)

    def forward(self, input_ids: Tensor | None, attention_mask: Tensor, tokens: Tensor | None = None) -> EncoderStates:
        """States of texts.

        Args:
            input_ids: as `text_states`.
            attention_mask: of the tokens, [B, T].
            tokens: states [B, T, d_t] computed before by this branch; then the encoder isn't run. The pooled state
                alone, as T = 1, will do where only pooled states are read.
        """
        if tokens is None:
            assert input_ids is not None, "text_mask refused this"
            tokens = text_states(self.text_model, input_ids, attention_mask).tokens
        states = EncoderStates.of_text(rounded(tokens.float(), self.states_type), attention_mask, self.pooling)
        return EncoderStates(states.tokens, rounded(states.pooled, self.states_type))  # a mean has digits of its own

    def logits(self, states: EncoderStates, attention_mask: Tensor) -> LabelTaskLogits:
        """Each label task's logits x_t [B, num_classes] from the texts' states and mask [B, T]."""
        pooled = self.pooled_heads(states.pooled)
        counted = attention_mask if self.packed else torch.ones_like(attention_mask)
        sequence = self.sequence_heads(self.lstm.final_states(states.tokens, counted.sum(dim=1)))
        return {name: pooled[name] + sequence[name] for name in pooled}


class TextClassifier(EncoderModel):
    """CLIP-text: classifies a meme by its text alone."""

    branches = ("text",)
    main_input_name = "input_ids"

    def __init__(self, config: MemeConfig) -> None:
        super().__init__(config)
        self.text = TextBranch(config)
        self.post_init()

    def reads(self, branches: Collection[str]) -> dict[str, Reading]:
        """All tokens, for the BiLSTM."""
        return {"text": "tokens"}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        text_tokens: Tensor | None = None,
        branches: Collection[str] | None = None,
    ) -> MemeOutput:
        """Logits of the "text" branch.

        Args:
            input_ids: token ids [B, T] of texts that end with their end token, padded on the right.
            attention_mask: [B, T], 1 for tokens and 0 for padding; all tokens when left out.
            pixel_values: not read; taken so that all models are called alike.
            text_tokens: states [B, T, d_t] computed before, in place of input_ids.
            branches: not read; there is one.
        """
        mask = text_mask(input_ids, attention_mask, text_tokens)
        return self.output({"text": self.text.logits(self.text(input_ids, mask, text_tokens), mask)})

    def pooled_states(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The "text" state [B, d_t] of model inputs as `forward` takes them: of CLIP the end token's (paper section
        3)."""
        return {"text": self.text(inputs["input_ids"], inputs["attention_mask"]).pooled}
