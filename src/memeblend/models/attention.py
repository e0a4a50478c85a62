"""Multi-head self-attention blocks of the fusion, through `scaled_dot_product_attention`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Multi-head self-attention; the same function and weight layout as `torch.nn.MultiheadAttention`.

    Args:
        width: d, size of the states; a multiple of `num_heads`.
        num_heads: H.
        dropout: dropout on the attention weights.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, states: Tensor, key_mask: Tensor) -> Tensor:
        """Attended states [B, S, d].

        Args:
            states: [B, S, d].
            key_mask: [B, S], True where a state may be attended to.
        """
        batch, length, width = states.shape
        projected = self.in_proj(states).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each [B, H, S, d / H]
        attended = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=key_mask[:, None, None, :],  # [B, 1, 1, S]
            dropout_p=self.dropout if self.training else 0.0,
        )
        merged: Tensor = self.out_proj(attended.transpose(1, 2).reshape(batch, length, width))
        return merged


class AttentionBlock(nn.Module):
    """One block of the fusion: attention, with a layer norm before and a residual around it where switched on.

    Args:
        width: size of the states.
        num_heads: attention heads.
        dropout: dropout on the attention weights.
        residual: add the input to the output.
        norm: layer norm on what the attention reads.
    """

    def __init__(self, width: int, num_heads: int, dropout: float, *, residual: bool, norm: bool) -> None:
        super().__init__()
        self.residual = residual
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.attention = SelfAttention(width, num_heads, dropout)

    def forward(self, states: Tensor, key_mask: Tensor) -> Tensor:
        """States [B, S, d] after the block; arguments as `SelfAttention`."""
        attended: Tensor = self.attention(self.norm(states), key_mask)
        return states + attended if self.residual else attended
