"""The layers of T3, over its public modules: one pass for rows of different lengths.

Chatterbox's own loop asks transformers for the attention of every layer at every step, and
keeps its cache by concatenating it. Here the keys and values are in `Rows`, attention is
`scaled_dot_product_attention`, and nothing is hooked or changed, so that any number of
sentences may be at different places of the same model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._rows import Prefix, Rows

__all__ = ["Backbone", "Watched", "backbone"]

_TABLE: Final = 512  # positions computed at a time

Watched = dict[int, Tensor]
"""By layer, the weights of the heads that are watched, of shape (n_rows, n_heads, n, n_columns)."""

_Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def backbone(t3: nn.Module) -> Backbone:
    """The layers of a loaded T3, whichever kind it is."""
    return _GPT2(t3.tfmr) if t3.is_gpt else _Llama(t3.tfmr)


class Backbone(ABC):
    """A stack of layers with rows.

    Args:
        blocks: The layers.
    """

    def __init__(self, blocks: nn.ModuleList, config: Any, norm: nn.Module) -> None:
        self._blocks = blocks
        self._norm = norm
        self._n_head = int(config.num_attention_heads)
        self._d = int(getattr(config, "head_dim", None) or config.hidden_size // self._n_head)

    def rows(self, like: Tensor) -> Rows:
        """No rows yet, on the device and in the type of ``like``."""
        return Rows(len(self._blocks), self._n_head, self._d, like)

    def prefix(self, x: Tensor, check: Callable[[], None]) -> Prefix:
        """What a row of the embeddings ``x``, of shape (1, n, n_state), leaves behind."""
        rows = self.rows(x)
        nothing = x.new_zeros(1, self._n_head, 0, self._d)
        rows.add(1, [(nothing, nothing)] * len(self._blocks))
        kept: list[tuple[Tensor, Tensor]] = []

        def keep(keys: Tensor, values: Tensor) -> None:
            kept.append((keys.clone(), values.clone()))

        self.states(x, rows, 0, check, keep=keep)
        return kept

    def states(
        self,
        x: Tensor,
        rows: Rows,
        first: int,
        check: Callable[[], None],
        *,
        watch: Mapping[int, list[int]] | None = None,
        watched: Watched | None = None,
        keep: Callable[[Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """Append embeddings to rows; return what the layers make of them.

        Args:
            x: Of shape (n_rows, n, n_state), for the rows from ``first`` on.
            check: Called in each layer; what it raises ends the call, and spoils the rows.
            watch: Heads, by layer, whose attention is put into ``watched``.
            keep: Called with each layer's keys and values of those rows.

        Returns:
            Of shape (n_rows, n, n_state), normalised.
        """
        n_rows, n, _ = x.shape
        starts = rows.lengths[first : first + n_rows]
        longest = max(starts)
        rows.reserve(longest + n)
        together = min(starts) == longest
        steps = torch.arange(n, device=x.device)
        columns = longest + steps
        if not together:
            columns = torch.tensor(starts, device=x.device)[:, None] + steps
        causal = longest == 0 and n > 1
        mask = None
        if not causal and (n > 1 or not together):
            heard = torch.arange(longest + n, device=x.device)
            mask = heard <= columns[..., None]
            mask = mask[None, None] if together else mask[:, None]
        x, positions = self._begin(x, columns if columns.ndim == 2 else columns[None], longest + n)
        for layer, block in enumerate(self._blocks):
            check()

            def attend(query: Tensor, key: Tensor, value: Tensor, layer: int = layer) -> Tensor:
                keys, values = rows.write(layer, first, key, value, columns)
                if keep is not None:
                    keep(keys, values)
                if watch and watched is not None and layer in watch:
                    watched[layer] = _weights(query, keys, watch[layer], mask, causal=causal)
                out = F.scaled_dot_product_attention(
                    query, keys, values, attn_mask=mask, is_causal=causal
                )
                return out.transpose(1, 2).flatten(2)

            x = self._layer(block, x, positions, attend)
        for row in range(first, first + n_rows):
            rows.lengths[row] += n
        normalised: Tensor = self._norm(x)
        return normalised

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self._n_head, self._d).transpose(1, 2)

    @abstractmethod
    def _begin(self, x: Tensor, columns: Tensor, end: int) -> tuple[Tensor, Any]:
        """What the layers get, and what they need to know of the positions.

        Args:
            columns: Of shape (n_rows or 1, n), each below ``end``.
        """

    @abstractmethod
    def _layer(self, block: nn.Module, x: Tensor, positions: Any, attend: _Attend) -> Tensor: ...


def _weights(
    query: Tensor, keys: Tensor, heads: list[int], mask: Tensor | None, *, causal: bool
) -> Tensor:
    """The attention weights of some heads, which `scaled_dot_product_attention` keeps to itself."""
    scores = query[:, heads] @ keys[:, heads].transpose(-1, -2) * query.shape[-1] ** -0.5
    if causal:
        n = scores.shape[-1]
        mask = torch.ones(n, n, dtype=torch.bool, device=scores.device).tril()[-scores.shape[-2] :]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.float().softmax(dim=-1)


class _Llama(Backbone):
    def __init__(self, tfmr: nn.Module) -> None:
        super().__init__(tfmr.layers, tfmr.config, tfmr.norm)
        self._rotary = tfmr.rotary_emb
        self._cos = self._sin = torch.empty(0, 0)

    def _begin(self, x: Tensor, columns: Tensor, end: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if end > self._cos.shape[0] or self._cos.device != x.device or self._cos.dtype != x.dtype:
            known = torch.arange(-(-end // _TABLE) * _TABLE, device=x.device)
            cos, sin = self._rotary(x, known[None])
            self._cos, self._sin = cos[0], sin[0]
        return x, (self._cos[columns][:, None], self._sin[columns][:, None])

    def _layer(self, block: nn.Module, x: Tensor, positions: Any, attend: _Attend) -> Tensor:
        attention = block.self_attn
        own = block.input_layernorm(x)
        out = attend(
            _rotated(self._heads(attention.q_proj(own)), *positions),
            _rotated(self._heads(attention.k_proj(own)), *positions),
            self._heads(attention.v_proj(own)),
        )
        x = x + attention.o_proj(out)
        result: Tensor = x + block.mlp(block.post_attention_layernorm(x))
        return result


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class _GPT2(Backbone):
    def __init__(self, tfmr: nn.Module) -> None:
        super().__init__(tfmr.h, tfmr.config, tfmr.ln_f)
        self._positions = tfmr.wpe

    def _begin(self, x: Tensor, columns: Tensor, end: int) -> tuple[Tensor, None]:
        return x + self._positions(columns), None

    def _layer(self, block: nn.Module, x: Tensor, positions: Any, attend: _Attend) -> Tensor:
        query, key, value = block.attn.c_attn(block.ln_1(x)).chunk(3, dim=-1)
        out = attend(self._heads(query), self._heads(key), self._heads(value))
        x = x + block.attn.c_proj(out)
        result: Tensor = x + block.mlp(block.ln_2(x))
        return result
