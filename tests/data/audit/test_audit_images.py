"""Single images: unreadable, blank, inverted, odd; the quick check; the contact sheet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medzoo.data.audit import contact_sheet, quick
from medzoo.data.audit.check import check_dataset
from medzoo.data.audit.contact_sheet import write_sheet
from medzoo.data.audit.pixels import digest_pixels, gather_facts
from medzoo.data.audit.quick import quick_check
from medzoo.data.bundle import Bundle
from medzoo.data.dataset import BYTE_RANGE, Dataset, Decoder
from medzoo.data.reading import Reading


def open_files(
    paths: list[Path], splits: list[str], decoder: Decoder = "tensorflow", channels: int = 1
) -> Dataset:
    """A data set of files, without the checks of opening one."""
    table = pd.DataFrame({"id": [path.name for path in paths], "split": splits, "label": "a"})
    return Dataset(
        "files",
        ("a",),
        table,
        channels,
        (8, 9),
        BYTE_RANGE,
        paths=tuple(paths),
        decoder=decoder,
        reading=Reading(channels),
    )


@pytest.mark.parametrize("decoder", ["tensorflow", "reader"])
def test_broken_files_are_findings_and_stop_nothing(
    write_image: Any, tmp_path: Path, decoder: Decoder
) -> None:
    good, cut = write_image("good.png"), write_image("cut.png", seed=1)
    cut.write_bytes(cut.read_bytes()[:60])
    absent = tmp_path / "absent.png"
    audit = check_dataset(open_files([good, cut, absent], ["train", "test", "test"], decoder))
    (finding,) = audit.of_kind("unreadable")
    assert finding.severity == "error"
    assert finding.ids == ("cut.png", "absent.png")
    assert "cut.png" in finding.message
    assert audit.decoded == 1


def test_equal_pixels_are_equal_in_any_lossless_format(tmp_path: Path, make_picture: Any) -> None:
    picture = Image.fromarray(make_picture(0))
    for name in ("a.png", "b.bmp"):
        picture.save(tmp_path / name)
    audit = check_dataset(open_files([tmp_path / "a.png", tmp_path / "b.bmp"], ["train", "test"]))
    assert [pair.exact for pair in audit.pairs] == [True]


def test_digests_tell_shapes_apart() -> None:
    pixels = np.arange(12, dtype=np.uint8)
    assert digest_pixels(pixels.reshape(3, 4, 1)) != digest_pixels(pixels.reshape(4, 3, 1))


def test_images_that_are_not_finite_cannot_be_read(make_dataset: Any) -> None:
    images = np.random.default_rng(0).normal(size=(4, 16, 16)).astype(np.float32)
    images[2, 3, 3] = np.nan
    (finding,) = check_dataset(make_dataset(images, ["train"] * 4)).of_kind("unreadable")
    assert finding.ids == ("2",)


def test_a_negative_among_its_like_is_found(make_picture: Any, make_dataset: Any) -> None:
    common = np.linspace(0, 120, 64)[:, None]
    images = [(common + make_picture(seed) / 2).astype(np.uint8) for seed in range(40)]
    for row in (3, 20):
        images[row] = 255 - images[row]
    audit = check_dataset(make_dataset(images, ["train"] * 40))
    (finding,) = audit.of_kind("inverted")
    assert finding.ids == ("3", "20")


def test_among_unlike_images_none_is_a_negative(make_picture: Any, make_dataset: Any) -> None:
    audit = check_dataset(make_dataset([make_picture(seed) for seed in range(40)], ["train"] * 40))
    assert not audit.of_kind("inverted")


def test_sizes_shapes_depth_and_colour(write_image: Any, tmp_path: Path) -> None:
    paths = [write_image(f"{number}.png", "RGB", (20, 20), number) for number in range(5)]
    paths += [write_image("wide.png", "RGB", (50, 20), 7), write_image("grey.png", "L", (20, 20), 8)]
    paths += [write_image("deep.png", "I;16", (20, 20), 9)]
    audit = check_dataset(open_files(paths, ["train"] * 8, "reader", channels=3))
    assert audit.of_kind("sizes")[0].message.startswith("2 sizes, from 20×20 to 20×50")
    assert audit.of_kind("odd_shape")[0].ids == ("wide.png",)
    assert audit.of_kind("mixed_depth")[0].ids == ("deep.png",)
    assert audit.of_kind("mixed_colour")[0].ids == ("grey.png", "deep.png")


def test_float_images_are_judged_by_their_own_range(make_picture: Any, make_dataset: Any) -> None:
    images = [(make_picture(seed) / 255e3).astype(np.float32) for seed in range(4)]
    facts = gather_facts(make_dataset([*images, images[0] * np.float32(1.01)], ["train"] * 4 + ["test"]))
    assert not facts.blank.any()
    assert 0 <= facts.thumbnails.min() < 0.2
    assert 0.7 < facts.thumbnails.max() <= 1


def test_quick_check_finds_what_is_stored_twice(write_image: Any, tmp_path: Path) -> None:
    paths = [write_image(f"{number}.png", seed=number) for number in range(4)]
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[2].read_bytes())
    # Of the same size as another file, and different.
    other = tmp_path / "other.png"
    other.write_bytes(paths[1].read_bytes()[:-1] + b"?")
    # Twice in one split is no leak.
    (tmp_path / "within.png").write_bytes(paths[0].read_bytes())
    splits = ["train", "train", "train", "test", "test", "test", "train"]
    data = open_files([*paths, copy, other, tmp_path / "within.png"], splits)
    assert quick_check(data) == ("2 images stored alike in several splits: 2.png = copy.png",)
    assert quick_check(data.take(np.array([0, 1, 2, 3, 5, 6]))) == ()


def test_quick_check_of_a_bundle_and_of_arrays(make_picture: Any, make_dataset: Any) -> None:
    blobs = (b"one", b"two", b"one", b"six")
    lengths = np.full(4, 3, np.int64)
    bundle = Bundle((), np.zeros(4, np.int32), lengths, lengths, np.zeros(4, bool), lengths, blobs)
    names = [Path(f"x.zip/{number}") for number in range(4)]
    data = replace(open_files(names, ["train", "train", "test", "test"]), bundle=bundle)
    assert quick_check(data) == ("2 images stored alike in several splits: 0 = 2",)
    blank = np.zeros((64, 64), np.uint8)
    images = [make_picture(0), make_picture(1), make_picture(0), blank, blank]
    arrays = make_dataset(images, ["train", "train", "test", "train", "test"])
    assert quick_check(arrays) == ("2 images stored alike in several splits: 0 = 2",)


def test_quick_check_stays_cheap(
    make_picture: Any, make_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset([make_picture(0)] * 2, ["train", "test"], ["a", "a"])
    assert len(quick_check(data)) == 1
    monkeypatch.setattr(quick, "MOST_BYTES", 100)
    assert quick_check(data) == ()


def test_the_sheet_shows_the_pairs(
    tmp_path: Path, make_picture: Any, make_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [make_picture(seed) for seed in range(3)]
    data = make_dataset([*pictures, *pictures], ["train"] * 3 + ["test"] * 3)
    pairs = check_dataset(data).pairs
    assert write_sheet(data, pairs, tmp_path / "sheet.png") == 3
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"), np.float64)
    side, gap = contact_sheet.SIDE, contact_sheet.GAP
    for number in range(3):
        left = gap + number * (2 * side + 2 + gap)
        first, second = (sheet[gap : gap + side, start : start + side] for start in (left, left + side + 2))
        assert np.array_equal(first, second)
        shown = Image.fromarray(pictures[number]).resize((side, side), Image.Resampling.BICUBIC)
        assert np.abs(first - np.asarray(shown)).max() <= 1
    monkeypatch.setattr(contact_sheet, "MOST_ON_SHEET", 2)
    assert write_sheet(data, pairs, tmp_path / "fewer.png") == 2


def test_captions_are_never_wider_than_a_pair() -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(contact_sheet.TEXT)
    text = contact_sheet.fit_text("folder/" * 40 + "name.png", font, 200, keep_end=True)
    assert font.getlength(text) <= 200
    assert text.endswith("name.png")
    assert text.startswith("…")
