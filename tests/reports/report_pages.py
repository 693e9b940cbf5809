"""A finished run as its files alone, no network trained, and pages as trees of elements."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from medzoo.evaluation.predictions import Predictions, write_predictions
from medzoo.evaluation.uncertainty.resampling import Resampling
from medzoo.training.config import format_config, make_config
from medzoo.training.monitoring.history import write_history

SIZE = 16

#: Enough for an interval, few enough for a test.
FEW = Resampling(replicates=40)

VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass
class Element:
    """An element of a page, its attributes, its children and the text within it."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text within, spaces joined."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join(" ".join(parts).split())

    def find_all(self, *tags: str) -> list[Element]:
        """List all elements of some kinds, in the page's order."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                found += [child] if not tags or child.tag in tags else []
                found += child.find_all(*tags)
        return found

    def find(self, identity: str) -> Element:
        """Find the element with an id."""
        return next(found for found in self.find_all() if found.attributes.get("id") == identity)


class Tree(HTMLParser):
    """Reads a page and refuses one whose elements do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>, line {self.getpos()[0]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def parse(page: str) -> Element:
    """Read a page as a tree of elements; all of them are closed."""
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert tree._open == [tree.root]
    return tree.root


def make_rows(
    count: int = 120,
    classes: tuple[str, ...] = ("benign", "malignant"),
    *,
    exclusive: bool = True,
    seed: int = 0,
) -> Predictions:
    """Make validation and test rows of two images a patient, with a sex and a view."""
    rng = np.random.default_rng(seed)
    width = len(classes)
    if exclusive:
        labels = np.eye(width)[np.arange(count) // 2 % width]
    else:
        labels = (rng.random((count, width)) < 0.4).astype(float)
        labels[rng.random((count, width)) < 0.1] = np.nan
    logits = 1.5 * (np.nan_to_num(labels) - 0.5) + rng.normal(size=(count, width))
    odds = np.exp(logits)
    scores = odds / odds.sum(axis=1, keepdims=True) if exclusive else odds / (1 + odds)
    return Predictions(
        ids=np.array([f"{row}.png" for row in range(count)]),
        labels=labels,
        scores=scores,
        classes=classes,
        splits=np.where(np.arange(count) // 2 % 3 == 0, "validation", "test").astype(np.str_),
        patients=np.array([f"p{row // 2}" for row in range(count)]),
        groups={
            "sex": np.array(["F", "M"])[rng.integers(0, 2, count)],
            "view": np.where(np.arange(count) < 4, "lateral", "frontal").astype(np.str_),
        },
        exclusive=exclusive,
    )


def write_images(folder: Path, rows: Predictions) -> Path:
    """Write an image for each row, whose grey level is the row's number, some for training, and their table."""
    folder.mkdir(parents=True)
    listed = [
        (
            str(rows.ids[row]),
            rows.classes[int(rows.labels[row].argmax())],
            str(rows.splits[row]),
            str(rows.patients[row]),
        )
        for row in range(len(rows))
    ]
    listed += [(f"t{row}.png", rows.classes[row % 2], "train", f"t{row}") for row in range(20)]
    for row, (name, *_) in enumerate(listed):
        pixels = np.full((SIZE, SIZE), row % 256, np.uint8)
        pixels[0, 0] = 255
        Image.fromarray(pixels).save(folder / name)
    table = folder / "table.csv"
    table.write_text("\n".join(map(",".join, [("image", "label", "split", "patient"), *listed])) + "\n")
    return table


def write_report_run(folder: Path, rows: Predictions, source: str = "") -> Path:
    """Write a run's files as `medzoo train` does, weights left out, for rows whose images `source` lists."""
    import medzoo
    from medzoo.transplant.modes import choose_rules, read_recipe
    from medzoo.transplant.record import format_record

    folder.mkdir(parents=True)
    data = {"source": source or "nowhere.csv", "image_size": SIZE, "preprocessing": "tf"}
    config = make_config({"data": data, "model": {"name": "cbr_tiny", "channels": 1}})
    (folder / "config.toml").write_text(format_config(config))
    environment = {
        "medzoo": "0.5.0",
        "tensorflow": "2.21.0",
        "table_digest": "",
        "warnings": ["two images are alike"],
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.json").write_text('{"ideal_observer": {"auroc": 0.9214}}')
    history = [
        {
            "epoch": epoch,
            "step": 8 * epoch,
            "loss": 1 / epoch,
            "val_loss": 1.1 / epoch,
            "val_auroc": 1 - 0.5 / epoch,
        }
        for epoch in range(1, 6)
    ]
    write_history(folder, history)
    spec = medzoo.find_model("cbr_tiny")
    rules = choose_rules(read_recipe({"mode": "random"}), spec, spec, None).rules
    target = medzoo.describe("cbr_tiny", classes=len(rows.classes), channels=1)
    plan = medzoo.make_plan(medzoo.source_from_arrays({}), target, rules, 0)
    (folder / "plan.json").write_text(format_record(plan, {}))
    write_predictions(rows, folder / "predictions.csv")
    return folder
