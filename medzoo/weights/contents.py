"""What a weights file holds, as its format's reader reports it, before any dialect gives it our names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medzoo.tensors import LazyTensor


@dataclass(frozen=True)
class Contents:
    """A file's unread tensors under the names written in it, and what else a reader has to say.

    `notes` are short sentences on what was left out or undone ("optimiser state left out"), for a person.
    `metadata` is the file's own text metadata, provenance for one. `files` are all files whose bytes make up
    the tensors; empty means the opened file alone. `storage` gives each tensor's place in a Keras
    `.weights.h5`, where the file is one, and `numbered` names the tensors whose layer names it does not hold.
    """

    tensors: Mapping[str, LazyTensor]
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    storage: Mapping[str, str] = field(default_factory=dict)
    numbered: frozenset[str] = frozenset()
