"""Swin against transformers: every block's output and the logits, through saved weights, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from foreign import require

import medzoo
from medzoo.models.rows.swin import ROWS, describe_row
from medzoo.specs import Stage, list_parts
from medzoo.tensors import Source

torch = require("torch")
transformers = require("transformers")

SWIN_T = {"image_size": 224, "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}


def configure(
    size: int, window: int, depths: list[int], heads: int = 2, channels: int = 16
) -> dict[str, Any]:
    """Give the sizes of a small network in their words."""
    counts = [heads * 2**stage for stage in range(len(depths))]
    sizes = {"image_size": size, "window_size": window, "embed_dim": channels}
    return {**sizes, "depths": depths, "num_heads": counts}


def make(config: dict[str, Any]) -> Any:
    """Make their network; every tensor has values of its own that neither fade nor saturate over the blocks."""
    model = transformers.SwinForImageClassification(transformers.SwinConfig(**config, num_labels=5))
    torch.manual_seed(11)
    with torch.no_grad():
        for name, value in model.named_parameters():
            drawn = torch.randn(value.shape)
            if value.ndim == 1:
                is_scale = "norm" in name and name.endswith("weight")
                value.copy_(0.3 * drawn + (1.0 if is_scale else 0.0))
            else:
                value.copy_(drawn * (1.5 / np.sqrt(value[0].numel()) if name.endswith("weight") else 1.0))
    return model.eval()


def run_theirs(model: Any, images: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Give what leaves every sub-block, in our layers' names, and the logits."""
    outputs: dict[str, Any] = {}

    def note(name: str) -> Any:
        return lambda _m, _i, out: outputs.update({name: out[0] if isinstance(out, tuple) else out})

    base = model.swin
    base.embeddings.register_forward_hook(note("patch_norm"))
    base.layernorm.register_forward_hook(note("norm"))
    for number, stage in enumerate(base.encoder.layers, start=1):
        for index, block in enumerate(stage.blocks, start=1):
            # The second norm reads what the attention's branch was added to.
            block.layernorm_after.register_forward_pre_hook(
                lambda _m, given, name=f"stage{number}_block{index}_add1": outputs.update({name: given[0]})
            )
            block.register_forward_hook(note(f"stage{number}_block{index}_add2"))
        if stage.downsample is not None:
            stage.downsample.register_forward_hook(note(f"stage{number}_downsample_reduction"))
    with torch.no_grad():
        logits = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).logits.numpy()
    return {name: value.numpy() for name, value in outputs.items()}, logits


def build(config: dict[str, Any], size: int, window: int) -> tuple[keras.Model, list[str]]:
    """Build our network of the same sizes, for images of `size`; name the layers that every sub-block ends with."""
    heads = config["num_heads"][0]
    options = {
        "depths": "-".join(map(str, config["depths"])),
        "heads": heads,
        "head_size": config["embed_dim"] // heads,
        "window": window,
    }
    spec = describe_row("swin_t", {**ROWS["swin_t"], **options})
    names = [part.output for part in list_parts(spec.stages[:-1])]
    names += [name.replace("add2", "add1") for name in names if name.endswith("add2")]
    return medzoo.build(spec, classes=5, channels=3, input_size=size), names


def fill_ours(model: keras.Model, source: Source) -> None:
    """Copy a source's weights into our network: all of them, and nothing else."""
    plan = medzoo.make_plan(source, medzoo.describe(model), medzoo.recipes.copy())
    assert plan.coverage == 1.0
    assert not plan.unused
    medzoo.apply(plan, source, model)


def compare(model: keras.Model, names: list[str], theirs: Any, images: np.ndarray) -> None:
    """Compare what leaves every sub-block, and the logits."""
    expected, logits = run_theirs(theirs, images)
    assert set(expected) == set(names)
    outputs = medzoo.taps(model, [Stage(name, name, name) for name in names])(images, training=False)
    for name in names:
        assert_near(outputs[name], expected[name], name)
    assert_near(model(images, training=False), logits, "logits")


def assert_near(given: Any, expected: np.ndarray, name: str) -> None:
    values = np.asarray(given).reshape(expected.shape)  # theirs are rows of tokens, ours are maps
    error = np.abs(values - expected).max() / np.abs(expected).max()
    assert error <= 1e-4, f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize(
    ("config", "size"),
    [
        # Maps of 8 and 4 in windows of 4 and 4: the first is shifted.
        (configure(32, 4, [2, 2]), 32),
        # 10 → 5 tokens, windows of 3: padded to 12 and 6, an odd side is merged.
        (configure(40, 3, [2, 3]), 40),
        # 9 → 5 → 3 tokens, windows of 2.
        (configure(36, 2, [2, 2, 2], heads=1, channels=8), 36),
        # The network for 96 pixels: maps of 24 and 12, windows of 7 padded to 28 and 14.
        (configure(96, 7, [2, 2]), 96),
        # Made for 64 pixels, used at 96.
        (configure(64, 7, [2, 2]), 96),
        # One window exactly.
        (configure(28, 7, [2]), 28),
        (SWIN_T, 224),
    ],
    ids=[
        "shifted",
        "padded",
        "odd at every merging",
        "96 in sevens",
        "another input",
        "one window",
        "swin_t",
    ],
)
def test_every_block_and_the_logits(config: dict[str, Any], size: int, tmp_path: Path) -> None:
    theirs = make(config)
    theirs.save_pretrained(tmp_path)
    model, names = build(config, size, theirs.config.window_size)
    fill_ours(model, medzoo.open_weights(tmp_path / "model.safetensors"))
    images = np.random.default_rng(3).normal(size=(2, size, size, 3)).astype("float32")
    compare(model, names, theirs, images)


@pytest.mark.parametrize("side", [1, 3, 5])
def test_a_map_smaller_than_the_window_is_one_window_of_its_size(side: int, tmp_path: Path) -> None:
    """Their network with smaller windows, its tables the middle of ours for windows of seven."""
    config = configure(4 * side, side, [2])
    theirs = make(config)
    theirs.save_pretrained(tmp_path)
    weights = medzoo.open_weights(tmp_path / "model.safetensors")
    model, names = build(config, 4 * side, 7)
    rng = np.random.default_rng(5)
    arrays = {name: weight.read() for name, weight in weights.items()}
    for name, values in arrays.items():
        if name.endswith("relative_position_bias_table"):
            large = rng.normal(size=(13, 13, 2)).astype("float32")
            middle = slice(7 - side, 6 + side)
            large[middle, middle] = values.reshape(2 * side - 1, 2 * side - 1, 2)
            arrays[name] = large.reshape(169, 2)
    fill_ours(model, medzoo.source_from_arrays(arrays))
    images = rng.normal(size=(2, 4 * side, 4 * side, 3)).astype("float32")
    compare(model, names, theirs, images)
