"""How fast and how good engines and conversations are here, in figures that can be compared.

``realtime-stts bench`` is its command.
"""

from __future__ import annotations

from ._figures import Figure, Job, Utterance

__all__ = ["Figure", "Job", "Utterance"]
