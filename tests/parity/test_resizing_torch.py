"""Resizing against PyTorch's `interpolate`, and against transformers' and timm's own functions built on it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import require

from medzoo.transplant.resizing import (
    make_resize_matrix,
    resize_grid,
    resize_patches,
    resize_positions,
    resize_table,
)

torch = require("torch")
transformers = require("transformers")

EVERY_WAY = pytest.mark.parametrize(
    "way",
    [(i, a) for i in ("bilinear", "bicubic") for a in (True, False)],
    ids=lambda way: f"{way[0]}-{way[1]}",
)
#: Up, down, both, by whole numbers and not, from and to a single sample, and unchanged.
SIZES = [
    (7, 12),
    (14, 24),
    (24, 14),
    (16, 32),
    (32, 16),
    (14, 7),
    (13, 23),
    (1, 5),
    (5, 1),
    (2, 3),
    (37, 3),
    (9, 9),
]

#: Theirs is float32 where it says so: a position up to 24 is known to 24·2**-24 = 1.4e-6, and slopes are some 5.
TOLERANCE = 2e-5


def make_values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def interpolate(values: np.ndarray, size: tuple[int, int], way: tuple[str, bool]) -> np.ndarray:
    """Resize (h, w, channels) by PyTorch, in the dtype given."""
    image = torch.from_numpy(values.transpose(2, 0, 1)[None].copy())
    resized = torch.nn.functional.interpolate(
        image, size=size, mode=way[0], antialias=way[1], align_corners=False
    )
    return resized[0].numpy().transpose(1, 2, 0)


@EVERY_WAY
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_matrices_are_those_of_interpolate(old: int, new: int, way: tuple[str, bool]) -> None:
    """Column i is basis vector i resized, in float64: the weights themselves, to rounding.

    Two columns of pixels: with one alone, PyTorch 2.13 resizes a height wrongly where it antialiases.
    """
    basis = np.repeat(np.eye(old)[:, None, :], 2, axis=1)
    theirs = interpolate(basis, (new, 2), way)[:, 0]
    assert np.abs(make_resize_matrix(old, new, *way) - theirs).max() <= 1e-12


@EVERY_WAY
@pytest.mark.parametrize(("old", "new"), [((7, 9), (12, 4)), ((14, 14), (24, 24)), ((24, 24), (14, 14))])
def test_grids(old: tuple[int, int], new: tuple[int, int], way: tuple[str, bool]) -> None:
    values = make_values(*old, 5)
    assert np.abs(resize_grid(values, new, *way) - interpolate(values, new, way)).max() <= TOLERANCE
    exact = values.astype("float64")
    assert np.abs(resize_grid(exact, new, *way) - interpolate(exact, new, way)).max() <= 1e-12


@pytest.mark.parametrize(("height", "width"), [(384, 384), (128, 128), (224, 224), (96, 256)])
def test_positions_are_those_of_transformers(height: int, width: int) -> None:
    """transformers resizes bicubically without antialias, on the fly, for whatever image comes."""
    config = transformers.ViTConfig(hidden_size=24, num_attention_heads=2, num_hidden_layers=1)
    embeddings = transformers.models.vit.modeling_vit.ViTEmbeddings(config).eval()
    values = make_values(1, 197, 24)
    new = height // 16, width // 16
    with torch.no_grad():
        embeddings.position_embeddings.copy_(torch.from_numpy(values))
        tokens = torch.zeros(1, 1 + new[0] * new[1], 24)
        theirs = embeddings.interpolate_pos_encoding(tokens, height, width).numpy()
    ours = resize_positions(values, theirs.shape[1], 1, antialias=False, new_grid=new)
    assert np.abs(ours - theirs).max() <= TOLERANCE
    if height == width:
        assert np.array_equal(ours, resize_positions(values, theirs.shape[1], 1, antialias=False))


def import_alone(*names: str) -> list[Any]:
    """Import modules of `timm.layers` without what timm imports on top of them: all its models, and torchvision."""
    found = importlib.util.find_spec("timm")
    if found is None:
        reason = "timm is not installed; make parity installs it"
        if os.environ.get("MEDZOO_PARITY"):
            pytest.fail(reason)
        pytest.skip(reason)
    assert found.submodule_search_locations
    folder = Path(next(iter(found.submodule_search_locations)))

    def take_out() -> dict[str, Any]:
        taken = [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]
        return {name: sys.modules.pop(name) for name in taken}

    kept = take_out()
    try:
        for name, path in (("timm", folder), ("timm.layers", folder / "layers")):
            package = types.ModuleType(name)
            package.__path__ = [str(path)]
            sys.modules[name] = package
        sys.modules["torchvision"] = None  # type: ignore[assignment]  # as if it were not installed
        return [importlib.import_module(f"timm.layers.{name}") for name in names]
    finally:
        # Nothing else may find timm without its own packages.
        take_out()
        sys.modules.update(kept)


@pytest.fixture(scope="module")
def timm() -> Any:
    """Give timm's functions for positions, tables and patches."""
    positions, tables, patches = import_alone("pos_embed", "pos_embed_rel", "patch_embed")
    return types.SimpleNamespace(
        resample_abs_pos_embed=positions.resample_abs_pos_embed,
        resize_rel_pos_bias_table_simple=tables.resize_rel_pos_bias_table_simple,
        resize_rel_pos_bias_table_levit=tables.resize_rel_pos_bias_table_levit,
        resample_patch_embed=patches.resample_patch_embed,
    )


@EVERY_WAY
@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize(
    ("old", "new"), [((14, 14), (24, 24)), ((14, 14), (8, 8)), ((14, 14), (10, 18)), ((4, 6), (7, 3))]
)
def test_positions_are_those_of_timm(
    timm: Any, old: tuple[int, int], new: tuple[int, int], prefix: int, way: tuple[str, bool]
) -> None:
    values = make_values(1, prefix + old[0] * old[1], 12)
    interpolation, antialias = way
    theirs = timm.resample_abs_pos_embed(
        torch.from_numpy(values),
        list(new),
        list(old),
        num_prefix_tokens=prefix,
        interpolation=interpolation,
        antialias=antialias,
    ).numpy()
    ours = resize_positions(values, theirs.shape[1], prefix, *way, old_grid=old, new_grid=new)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE


@pytest.mark.parametrize(("old", "new"), [(7, 12), (12, 7), (8, 16), (7, 7), (7, 4)])
def test_tables_are_those_of_timm(timm: Any, old: int, new: int) -> None:
    """timm has two: for Swin without antialias, for LeViT and TinyViT with it."""
    values = make_values((2 * old - 1) ** 2, 3)
    shape = ((2 * new - 1) ** 2, 3)
    theirs = timm.resize_rel_pos_bias_table_simple(torch.from_numpy(values), (new, new), shape).numpy()
    assert np.abs(resize_table(values, shape[0], antialias=False) - theirs).max() <= TOLERANCE
    theirs = timm.resize_rel_pos_bias_table_levit(torch.from_numpy(values), shape).numpy()
    assert np.abs(resize_table(values, shape[0]) - theirs).max() <= TOLERANCE


@EVERY_WAY
@pytest.mark.parametrize(
    ("old", "new"), [((16, 16), (32, 32)), ((16, 16), (8, 8)), ((16, 16), (14, 20)), ((4, 6), (7, 3))]
)
def test_patches_are_those_of_timm(
    timm: Any, old: tuple[int, int], new: tuple[int, int], way: tuple[str, bool]
) -> None:
    kernel = make_values(*old, 3, 8)
    interpolation, antialias = way
    theirs = timm.resample_patch_embed(
        torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()),
        list(new),
        interpolation=interpolation,
        antialias=antialias,
    ).numpy()
    ours = resize_patches(kernel, new, *way)
    # Theirs inverts a matrix of up to 1024×256 values in float32.
    assert np.abs(ours - theirs.transpose(2, 3, 1, 0)).max() <= 1e-4
