"""What a table says about labels: classes, joined lists, or a column per label with 1, 0, -1 and blanks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medzoo.data.dataset import JOINT, join_labels, sort_classes
from medzoo.data.tables.cells import Fault
from medzoo.data.tables.conventions import Coding, Policy, fold_name
from medzoo.errors import ConfigError, DataError, nearest

ALL_LABELS = "*"  # stands for every label that has no policy of its own
UNCERTAIN = -1.0
BLANKS = frozenset({"", "nan", "none", "null", "n/a", "na", "<na>"})  # how programs write an empty cell
WORDS = {"true": 1.0, "false": 0.0}
NO_FINDING = frozenset({"nofinding", "nofindings"})  # in a list of labels, says that it is empty
SAID = {"ones": "as ones", "zeros": "as zeros", "ignore": "ignored"}
UNCERTAIN_LABEL = "{} (uncertain)"


@dataclass(frozen=True, eq=False)
class RawLabels:
    """The labels of n rows as the table codes them, before any policy.

    Classes are `names` (n,); labels that are not exclusive `codes` (n, k) of 1, 0, -1 (uncertain) and NaN (blank),
    in the order of `classes`.
    """

    names: NDArray[np.object_] | None = None
    codes: NDArray[np.float32] | None = None
    classes: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int_]) -> RawLabels:
        """Give the labels of some rows, in that order."""
        return replace(
            self,
            names=None if self.names is None else self.names[rows],
            codes=None if self.codes is None else self.codes[rows],
        )


@dataclass(frozen=True, eq=False)
class Annotation:
    """The labels of n images as a data set has them: a text each, and `marks` (n, k) where they are not exclusive."""

    labels: NDArray[np.object_]
    classes: tuple[str, ...] = ()
    marks: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()


def read_labels(cells: pd.DataFrame, columns: Sequence[str], coding: Coding) -> tuple[RawLabels, list[Fault]]:
    """Read the labels of every row, and name the rows whose labels cannot be read."""
    if coding == "classes":
        return RawLabels(names=cells[columns[0]].to_numpy(object)), [find_empty(cells, columns[0])]
    if coding == "lists":
        return read_lists(cells, columns[0])
    raw, faults = read_codes(cells, columns)
    return (raw, faults) if coding == "columns" else read_one_hot(raw, faults)


def find_empty(cells: pd.DataFrame, column: str) -> Fault:
    """Name the rows without a value: leaving them out in silence would change what is measured."""
    empty = np.flatnonzero((cells[column] == "").to_numpy(bool))
    texts = [f"has no {column!r}"] * len(empty)
    return Fault(empty, texts, "a value in every row", "filling them in or deleting those rows")


def read_lists(cells: pd.DataFrame, column: str) -> tuple[RawLabels, list[Fault]]:
    """Read labels joined by "|"; "No Finding" says that an image has none."""
    positions, values = pd.factorize(cells[column])
    lists = [[name.strip() for name in value.split(JOINT) if name.strip()] for value in values]
    findings = [[name for name in names if fold_name(name) not in NO_FINDING] for names in lists]
    classes = sort_classes(name for names in findings for name in names)
    numbers = {name: number for number, name in enumerate(classes)}
    codes = np.zeros((len(lists), len(classes)), np.float32)
    for row, names in enumerate(findings):
        codes[row, [numbers[name] for name in names]] = 1
    empty = np.array([not names for names in lists], bool)
    torn = np.array([0 < len(kept) < len(names) for names, kept in zip(lists, findings, strict=True)], bool)
    faults = [
        Fault(
            where,
            [text.format(cells[column].iloc[row]) for row in where],
            "labels joined by '|', or 'No Finding' alone",
            "correcting those rows",
        )
        for where, text in (
            (np.flatnonzero(empty[positions]), f"has no {column!r}"),
            (np.flatnonzero(torn[positions]), "has 'No Finding' among other labels, {!r}"),
        )
    ]
    return RawLabels(codes=codes[positions], classes=classes), faults


def read_codes(cells: pd.DataFrame, columns: Sequence[str]) -> tuple[RawLabels, list[Fault]]:
    """Read one column per label: 1, 0, -1 (uncertain) or blank, also as 1.0, true and false."""
    codes = np.empty((len(cells), len(columns)), np.float32)
    faults = []
    for number, column in enumerate(columns):
        positions, values = pd.factorize(cells[column])
        read = [read_code(value) for value in values]
        codes[:, number] = np.array([np.nan if code is None else code for code in read], np.float32)[
            positions
        ]
        foreign = np.array([code is None for code in read], bool)
        where = np.flatnonzero(foreign[positions])
        texts = [f"has {cells[column].iloc[row]!r} in {column!r}" for row in where]
        faults.append(Fault(where, texts, "1, 0, -1 or blank", "correcting them, or --label-columns NAMES"))
    return RawLabels(codes=codes, classes=tuple(columns)), faults


def read_one_hot(raw: RawLabels, faults: list[Fault]) -> tuple[RawLabels, list[Fault]]:
    """Read the class of rows with a column per class, and name the rows that do not have exactly one."""
    assert raw.codes is not None
    ones = raw.codes == 1
    where = np.flatnonzero(ones.sum(axis=1) != 1)
    listed = ", ".join(raw.classes)
    texts = [f"has {ones[row].sum()} of the classes {listed}" for row in where]
    unclear = Fault(where, texts, "one class an image", "correcting those rows, or --label-columns NAMES")
    return RawLabels(names=np.array(raw.classes, object)[ones.argmax(axis=1)]), [*faults, unclear]


def read_code(text: str) -> float | None:
    """Read a label's cell: 1, 0, -1 for uncertain, NaN for blank; None where it is none of these.

    >>> read_code("1.0"), read_code("-1"), read_code("False"), read_code(""), read_code("2")
    (1.0, -1.0, 0.0, nan, None)
    """
    text = text.strip().lower()
    if text in BLANKS:
        return np.nan
    try:
        code = WORDS[text] if text in WORDS else float(text)
    except ValueError:
        return None
    return code if code in (1.0, 0.0, UNCERTAIN) else None


def merge_readers(
    raw: RawLabels, images: NDArray[np.int_], readers: NDArray[np.int_]
) -> tuple[RawLabels, NDArray[np.int_]]:
    """Make one row of each image's, and give the position of its first; images are numbered as they first appear.

    A reader's rows about an image say together what that reader marked.  A label counts where more than half of
    the readers who said something marked it; where just half did, it is uncertain; an uncertain mark is half a one.
    """
    assert raw.codes is not None
    codes = pd.DataFrame(np.where(raw.codes == UNCERTAIN, 0.5, raw.codes))
    keys = pd.DataFrame({"image": images, "reader": readers})
    by_reader = codes.groupby([keys["image"], keys["reader"]]).max()
    shares = by_reader.groupby(level="image").mean().to_numpy()
    merged = np.select([np.isnan(shares), shares == 0.5, shares > 0.5], [np.nan, UNCERTAIN, 1.0], 0.0)
    return replace(raw, codes=merged.astype(np.float32)), np.unique(images, return_index=True)[1]


def apply_policies(
    raw: RawLabels,
    uncertain: Mapping[str, Policy],
    blank: Mapping[str, Policy],
    default_blank: Policy,
    path: Path,
) -> Annotation:
    """Turn uncertain and blank labels into marks of 1, 0 and NaN (not known), and say how many.

    `ones` and `zeros` take them for present or absent, `ignore` leaves them unknown: neither loss nor metric sees
    them.  `keep` on a blank does the same; on an uncertain label it is the U-MultiClass of Irvin et al. 2019: a
    label "<name> (uncertain)" of its own after the others, 1 where the label is uncertain, and the label itself is
    0 there.  Uncertain labels are ignored unless a policy says otherwise.  Raises ConfigError for a policy about
    a label that does not exist, DataError for a label that ends up unknown in every row.
    """
    assert raw.codes is not None
    check_policies(uncertain, raw.classes, "uncertain")
    check_policies(blank, raw.classes, "blank")
    values: dict[Policy, float] = {"ones": 1.0, "zeros": 0.0, "ignore": np.nan}
    marks, kept, said = raw.codes.copy(), {}, list[str]()
    for number, name in enumerate(raw.classes):
        doubtful, empty = raw.codes[:, number] == UNCERTAIN, np.isnan(raw.codes[:, number])
        on_doubt = uncertain.get(name, uncertain.get(ALL_LABELS, "ignore"))
        on_blank = blank.get(name, blank.get(ALL_LABELS, default_blank))
        marks[empty, number] = values.get(on_blank, np.nan)
        marks[doubtful, number] = values.get(on_doubt, 0.0)
        if on_doubt == "keep" and doubtful.any():
            column = np.where(empty, values.get(on_blank, np.nan) * 0, doubtful)  # 0, or NaN where not known
            kept[UNCERTAIN_LABEL.format(name)] = column.astype(np.float32)
        said += describe_policies(name, on_doubt, on_blank, doubtful, empty)
    classes = (*raw.classes, *kept)
    marks = np.column_stack([marks, *kept.values()])
    unknown = [name for name, column in zip(classes, marks.T, strict=True) if np.isnan(column).all()]
    if unknown:
        raise DataError(
            f"{path}: label {unknown[0]!r} is blank or uncertain in every row",
            "a label that is known for some images",
            f"--blank '{unknown[0]}=zeros', or --label-columns NAMES without it",
        )
    return Annotation(join_rows(marks, classes), classes, marks, ("; ".join(said),) * bool(said))


def describe_policies(
    name: str, on_doubt: Policy, on_blank: Policy, doubtful: NDArray[np.bool_], empty: NDArray[np.bool_]
) -> list[str]:
    """Say what became of a label's uncertain and blank cells, if it has any."""
    counts = {
        f"uncertain {SAID.get(on_doubt, 'kept as a label')}": np.count_nonzero(doubtful),
        f"blank {SAID.get(on_blank, 'kept')}": np.count_nonzero(empty),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return [f"{name}: {', '.join(parts)}"] if parts else []


def check_policies(policies: Mapping[str, Policy], classes: Sequence[str], option: str) -> None:
    """Refuse a policy about a label that the table does not have."""
    for name in policies:
        if name not in (*classes, ALL_LABELS):
            raise ConfigError(
                f"--{option} names the label {name!r}, which the table does not have",
                nearest(name, classes),
                f"--{option} LABEL={policies[name]}",
            )


def join_rows(marks: NDArray[np.float32], classes: tuple[str, ...]) -> NDArray[np.object_]:
    """Name each row's positive labels in one text, asking once for each combination."""
    bits = np.packbits(marks == 1, axis=1)
    keys = np.ascontiguousarray(bits).view(np.dtype((np.void, bits.shape[1]))).ravel()
    _, first, positions = np.unique(keys, return_index=True, return_inverse=True)
    return np.array(join_labels(marks[first], classes), dtype=object)[positions]
