"""A dialect as data: how a family of foreign files names its tensors and orders their axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from medzoo.errors import WeightsError
from medzoo.tensors import LazyTensor
from medzoo.weights.dialects.entry import Entry, join_pieces, view
from medzoo.weights.dialects.patterns import fill_pattern, list_places, match_name

Shapes = tuple[tuple[str, tuple[int | None, ...]], ...]


@dataclass(frozen=True)
class Dialect:
    """How a family of files names its tensors.

    `marks` are globs of which each must match a name (after the prefixes are removed; `a|b` is either), `absent`
    globs that may match none, `shapes` exact shapes that named tensors must have (None is any size), and not
    all of `absent_shapes` may hold: together they recognise the family. `prefixes` are beginnings of names that
    a file may or may not have; the first is written, but not to names that a glob of `bare` matches. `dropped`
    are globs of tensors without a meaning here. With `keeps_rest`, names that no entry matches are ours already.
    """

    name: str
    about: str
    marks: tuple[str, ...]
    entries: tuple[Entry, ...]
    prefixes: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    shapes: Shapes = ()
    absent_shapes: Shapes = ()
    dropped: tuple[str, ...] = ()
    keeps_rest: bool = False

    def recognises(self, tensors: Mapping[str, LazyTensor]) -> bool:
        """Tell whether a file's names and shapes are of this dialect."""
        names = {self.strip(name): tensor for name, tensor in tensors.items()}
        return (
            all(any(_matches_any(names, glob) for glob in mark.split("|")) for mark in self.marks)
            and not any(_matches_any(names, glob) for glob in self.absent)
            and _has_shapes(names, self.shapes)
            and not (self.absent_shapes and _has_shapes(names, self.absent_shapes))
        )

    def strip(self, name: str) -> str:
        """Remove the first of the prefixes that a name has."""
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return name.removeprefix(prefix)
        return name

    def restore(self, name: str) -> str:
        """Put the prefix before a name as the family writes it."""
        if not self.prefixes or any(fnmatchcase(name, glob) for glob in self.bare):
            return name
        return self.prefixes[0] + name


def _matches_any(names: Iterable[str], glob: str) -> bool:
    """Tell whether any name matches a glob; a glob without wildcards is looked up."""
    if not any(sign in glob for sign in "*?["):
        return glob in names
    return any(fnmatchcase(name, glob) for name in names)


def _has_shapes(tensors: Mapping[str, LazyTensor], shapes: Shapes) -> bool:
    """Tell whether all named tensors are there and of the wanted shapes, where None stands for any size."""
    return all(
        name in tensors
        and len(tensors[name].spec.shape) == len(wanted)
        and all(w is None or s == w for s, w in zip(tensors[name].spec.shape, wanted, strict=True))
        for name, wanted in shapes
    )


class _Lines:
    """The lines of a dialect by the pattern of one side; those without numbers are looked up, not searched."""

    def __init__(self, entries: Iterable[Entry], side: str) -> None:
        """Group lines by their pattern; `side` is theirs or ours."""
        self._plain: dict[str, list[Entry]] = {}
        self._numbered: dict[str, list[Entry]] = {}
        for entry in entries:
            pattern = getattr(entry, side)
            groups = self._numbered if list_places(pattern) else self._plain
            groups.setdefault(pattern, []).append(entry)

    def find(self, name: str) -> Iterator[tuple[list[Entry], dict[str, int]]]:
        """Give the lines of each pattern that a name matches, with the numbers in it."""
        if name in self._plain:
            yield self._plain[name], {}
        for pattern, entries in self._numbered.items():
            numbers = match_name(pattern, name)
            if numbers is not None:
                yield entries, numbers


def translate(
    tensors: Mapping[str, LazyTensor], dialect: Dialect
) -> tuple[dict[str, LazyTensor], tuple[str, ...]]:
    """Give the same tensors under our names and in our axis order, still unread, and notes for a person.

    Tensors that the dialect does not know keep their names and axes; a note counts them.

    Raises:
        WeightsError: two tensors end up with one name, or a tensor's shape does not fit its line.
    """
    lines = _Lines(dialect.entries, "theirs")
    renamed: dict[str, LazyTensor] = {}
    unknown, dropped = [], 0
    for name, tensor in tensors.items():
        stripped = dialect.strip(name)
        if any(fnmatchcase(stripped, glob) for glob in dialect.dropped):
            dropped += 1
            continue
        views = _find_views(lines, stripped, tensor)
        if not views:
            unknown.append(name)
            views = {name: tensor}
        for new, viewed in views.items():
            if new in renamed:
                raise WeightsError(f"{name!r} and another tensor are both {new!r}", "unique names")
            renamed[new] = viewed
    notes = []
    if dropped:
        notes.append(f"left out: {dropped} tensors without a meaning here ({', '.join(dialect.dropped)})")
    if unknown and not dialect.keeps_rest:
        listed = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        notes.append(f"{len(unknown)} tensors unknown to the dialect {dialect.name}: {listed}")
    return renamed, tuple(notes)


def _find_views(lines: _Lines, name: str, tensor: LazyTensor) -> dict[str, LazyTensor]:
    """Give the views of a tensor, by our names, that the first fitting pattern's lines make; none if unknown."""
    for entries, numbers in lines.find(name):
        fitting = [entry for entry in entries if entry.rank in (0, len(tensor.spec.shape))]
        # Lines of one pattern and rank are the pieces of one tensor.
        pieces = [entry for entry in fitting if entry.rank == fitting[0].rank]
        if pieces:
            named = {fill_pattern(entry.ours, numbers): entry for entry in pieces}
            return {ours: view(tensor, entry, ours) for ours, entry in named.items()}
    return {}


def invert(tensors: Mapping[str, LazyTensor], dialect: Dialect) -> dict[str, LazyTensor]:
    """Give our tensors under a dialect's names and in its axis order, still unread.

    A dialect that knows a tensor under several names gives it the first of them.

    Raises:
        WeightsError: a tensor has no place in the dialect, or a piece of one is missing.
    """
    lines = _Lines(dialect.entries, "ours")
    pieces: dict[str, dict[int, tuple[Entry, LazyTensor]]] = {}
    for name, tensor in tensors.items():
        entry, numbers = _find_line_back(lines, name, tensor, tensors) or (None, {})
        if entry is None and not dialect.keeps_rest:
            raise WeightsError(
                f"{name!r} has no name in the dialect {dialect.name}", "a network of that family"
            )
        if entry is not None and not entry.is_invertible:
            raise WeightsError(
                f"{name!r} cannot be given the axes of {entry.theirs!r} in the dialect {dialect.name}",
                "a dialect whose tensors have as many axes as ours",
            )
        entry = entry or Entry(name, name)
        theirs = dialect.restore(fill_pattern(entry.theirs, numbers))
        parts = pieces.setdefault(theirs, {})
        if entry.part in parts:
            raise WeightsError(f"{name!r} and another tensor are both {theirs!r}", "unique names")
        parts[entry.part] = (entry, tensor)
    return {theirs: join_pieces(theirs, parts) for theirs, parts in pieces.items()}


def _find_line_back(
    lines: _Lines, name: str, tensor: LazyTensor, tensors: Mapping[str, LazyTensor]
) -> tuple[Entry, dict[str, int]] | None:
    """Give the line that a tensor of ours is written by, and the numbers in its name; None if there is none."""
    rank = len(tensor.spec.shape)
    for entries, numbers in lines.find(name):
        for entry in entries:
            if (
                len(entry.axes) in (0, rank)
                and entry.rank in (0, rank + abs(entry.ones))
                and all(place in numbers for place in list_places(entry.theirs))
                and (not entry.beside or entry.beside in tensors)
            ):
                return entry, numbers
    return None
