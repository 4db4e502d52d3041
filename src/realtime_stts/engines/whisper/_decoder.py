"""The decoder over the model's public modules: many rows at once, each with a length of its own.

openai-whisper caches keys and values by hooks on the shared modules, which two threads, or
two decodes that take turns, destroy for each other, and it copies the whole cache at every
step. Here each batch owns buffers with room ahead. Rows begin at the first column; what a
row's columns hold after its length is never heard, but must be numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor
from whisper.model import Whisper

__all__ = ["Decoder"]

_ROOM: Final = 64  # columns of a new buffer; it doubles as it fills


class Decoder:
    """Rows of tokens about the features of some sounds.

    Args:
        features: The encoder's, of shape (n_sounds, n_positions, n_state).
        head: Gives logits for states of shape (n, n_state).
        check: Called in each layer; what it raises ends the call, and spoils the rows.
    """

    def __init__(
        self,
        model: Whisper,
        features: Tensor,
        head: Callable[[Tensor], Tensor],
        check: Callable[[], None],
    ) -> None:
        self._model = model
        self._head = head
        self._check = check
        self._n_head = model.dims.n_text_head
        self._sounds = []  # a layer's keys and values, (n_sounds, n_head, n_positions, d)
        for block in model.decoder.blocks:
            check()
            attention = block.cross_attn
            self._sounds.append(
                (self._heads(attention.key(features)), self._heads(attention.value(features)))
            )
        self._rows: list[tuple[Tensor, Tensor]] = []  # likewise, (n_rows, n_head, n_text_ctx, d)
        self._dtype = features.dtype
        self.lengths: list[int] = []
        self._group = 1  # rows for each sound
        self.begin()

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self._n_head, -1).transpose(1, 2).contiguous()

    @property
    def n_sounds(self) -> int:
        return int(self._sounds[0][0].shape[0])

    @property
    def device(self) -> torch.device:
        return self._sounds[0][0].device

    @property
    def n_ctx(self) -> int:
        """How many tokens a row can hold."""
        return int(self._model.dims.n_text_ctx)

    def begin(self) -> None:
        """Forget the rows; there is one for each sound, and it is empty."""
        keys = self._sounds[0][0]
        shape = (keys.shape[0], self._n_head, _ROOM, keys.shape[3])
        self._rows = [(keys.new_zeros(shape), keys.new_zeros(shape)) for _ in self._sounds]
        self.lengths = [0] * self.n_sounds
        self._group = 1

    def spread(self, group: int) -> None:
        """Make ``group`` rows, all alike, of each sound's one."""
        if group > 1:
            self._rows = [
                (keys.repeat_interleave(group, dim=0), values.repeat_interleave(group, dim=0))
                for keys, values in self._rows
            ]
            self.lengths = [length for length in self.lengths for _ in range(group)]
            self._group = group

    def fork(self) -> Decoder:
        """A decoder of the same sounds; the rows move to it."""
        other = copy(self)
        other._rows = [*self._rows]
        return other

    def select(self, sounds: Sequence[int]) -> Decoder:
        """A decoder of those sounds alone, without rows."""
        other = copy(self)
        index = torch.tensor(sounds, device=self.device)
        other._sounds = [
            (keys.index_select(0, index), values.index_select(0, index))
            for keys, values in self._sounds
        ]
        other.begin()
        return other

    def keep(self, sounds: Sequence[int]) -> None:
        """Drop the other sounds, and their rows."""
        index = torch.tensor(sounds, device=self.device)
        self._sounds = [
            (keys.index_select(0, index), values.index_select(0, index))
            for keys, values in self._sounds
        ]
        self.reorder([i * self._group + g for i in sounds for g in range(self._group)])

    def reorder(self, sources: Sequence[int]) -> None:
        """Let row i go on from what row ``sources[i]`` was."""
        if list(sources) == [*range(len(self.lengths))]:
            return
        self.lengths = [self.lengths[source] for source in sources]
        used = max(self.lengths)
        index = torch.tensor(sources, device=self.device)
        for layer, pair in enumerate(self._rows):
            moved = []
            for old in pair:
                shape = (len(sources), *old.shape[1:])
                new = old if shape == tuple(old.shape) else old.new_zeros(shape)
                new[:, :, :used] = old[:, :, :used].index_select(0, index)
                moved.append(new)
            self._rows[layer] = (moved[0], moved[1])

    def cut(self, lengths: Sequence[int]) -> None:
        """Take back each row's last tokens."""
        self.lengths = [*lengths]

    def states(
        self, tokens: Sequence[Sequence[int]], queries: dict[int, Tensor] | None = None
    ) -> Tensor:
        """Append tokens to each row; return what the decoder makes of them.

        Args:
            tokens: As many lists as there are rows; what is missing in a shorter one is
                filled up, and not appended.
            queries: Takes up the cross attention's queries, by layer, each of shape
                (n_rows, n_head, n, d), where it names the layer.

        Returns:
            States of shape (n_rows, n, n_state), n as the longest list.
        """
        decoder = self._model.decoder
        n = max(map(len, tokens))
        padded = [[*row, *[0] * (n - len(row))] for row in tokens]
        starts = self.lengths
        columns = torch.tensor([[start + i for i in range(n)] for start in starts])
        columns = columns.to(self.device)
        n_columns = max(starts) + n
        self._make_room(n_columns)
        last = self._model.dims.n_text_ctx - 1
        embedded = decoder.token_embedding(torch.tensor(padded, device=self.device))
        x = (embedded + decoder.positional_embedding[columns.clamp(max=last)]).to(self._dtype)
        together = min(starts) == max(starts)
        mask = None
        causal = n > 1 and max(starts) == 0
        if not causal and (n > 1 or not together):
            mask = torch.arange(n_columns, device=self.device) <= columns[:, None, :, None]
        for layer, block in enumerate(decoder.blocks):
            self._check()
            x = x + self._attend(
                block.attn, layer, block.attn_ln(x), columns, together, mask, causal
            )
            x = x + self._listen(block.cross_attn, layer, block.cross_attn_ln(x), queries)
            x = x + block.mlp(block.mlp_ln(x))
        self.lengths = [start + len(row) for start, row in zip(starts, tokens, strict=True)]
        return decoder.ln(x)

    def logits(self, states: Tensor) -> Tensor:
        """Float32 logits of shape (n, n_vocab) for states of shape (n, n_state)."""
        return self._head(states).float()

    def keys(self, layer: int) -> Tensor:
        """The sounds' keys, of shape (n_sounds, n_head, n_positions, d)."""
        return self._sounds[layer][0]

    def _make_room(self, n_columns: int) -> None:
        room = self._rows[0][0].shape[2]
        if n_columns > room:
            more = max(room, n_columns - room)
            self._rows = [
                (F.pad(keys, (0, 0, 0, more)), F.pad(values, (0, 0, 0, more)))
                for keys, values in self._rows
            ]

    def _attend(
        self,
        attention: torch.nn.Module,
        layer: int,
        x: Tensor,
        columns: Tensor,
        together: bool,
        mask: Tensor | None,
        causal: bool,
    ) -> Tensor:
        """A row's attention to itself."""
        query, key, value = (
            part.view(*x.shape[:2], self._n_head, -1).transpose(1, 2)
            for part in (attention.query(x), attention.key(x), attention.value(x))
        )
        keys, values = self._rows[layer]
        n = x.shape[1]
        start, end = min(self.lengths), max(self.lengths) + n
        if together:
            keys[:, :, start:end] = key
            values[:, :, start:end] = value
        else:
            rows = torch.arange(x.shape[0], device=x.device)[:, None]
            at = columns.clamp(max=keys.shape[2] - 1)
            keys[rows, :, at] = key.transpose(1, 2)
            values[rows, :, at] = value.transpose(1, 2)
        out = F.scaled_dot_product_attention(
            query, keys[:, :, :end], values[:, :, :end], attn_mask=mask, is_causal=causal
        )
        return attention.out(out.transpose(1, 2).flatten(2))

    def _listen(
        self,
        attention: torch.nn.Module,
        layer: int,
        x: Tensor,
        queries: dict[int, Tensor] | None,
    ) -> Tensor:
        """A row's attention to its sound; the rows of one sound are as many queries to it."""
        n_rows, n = x.shape[:2]
        query = attention.query(x).view(n_rows, n, self._n_head, -1).transpose(1, 2)
        if queries is not None and layer in queries:
            queries[layer] = query
        keys, values = self._sounds[layer]
        if self._group > 1:
            d = query.shape[-1]
            folded = query.view(-1, self._group, self._n_head, n, d).transpose(1, 2)
            folded = folded.reshape(-1, self._n_head, self._group * n, d)
            out = F.scaled_dot_product_attention(folded, keys, values)
            out = out.view(-1, self._n_head, self._group, n, d).transpose(1, 2)
            out = out.reshape(n_rows, self._n_head, n, d)
        else:
            out = F.scaled_dot_product_attention(query, keys, values)
        return attention.out(out.transpose(1, 2).flatten(2))
