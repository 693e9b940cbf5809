"""Our ResNets of torchvision's variant against transformers', every block's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import require

import medzoo
from medzoo.specs import list_parts

torch = require("torch")
transformers = require("transformers")

#: Our row → what makes transformers' network the same.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "resnet18_torch": {
        "layer_type": "basic",
        "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512],
    },
    "resnet50_torch": {"layer_type": "bottleneck", "depths": [3, 4, 6, 3]},
}


def make_random(configuration: dict[str, Any]) -> Any:
    """Make a network whose every tensor has values of its own, of sizes that keep activations near one."""
    torch.manual_seed(11)
    model = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(num_labels=7, **configuration)
    ).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_mean") or name.endswith("bias"):
                value.copy_(0.1 * torch.randn(value.shape))
            elif value.dtype.is_floating_point and value.ndim == 1:
                value.copy_(0.5 + torch.rand(value.shape))
    return model


@pytest.mark.parametrize("row", CONFIGURATIONS)
def test_every_block_and_the_logits(row: str, tmp_path: Path) -> None:
    theirs = make_random(CONFIGURATIONS[row])
    theirs.save_pretrained(tmp_path)
    spec = medzoo.find_model(row)
    # 75 pixels: odd sides on the way, where padding matters.
    ours = medzoo.build(spec, classes=7, channels=3, input_size=75)
    source = medzoo.open_weights(tmp_path / "model.safetensors")
    plan = medzoo.make_plan(source, medzoo.describe(ours), medzoo.recipes.copy())
    assert plan.coverage == 1.0
    assert not plan.unused
    medzoo.apply(plan, source, ours)
    images = np.random.default_rng(3).normal(size=(2, 75, 75, 3)).astype("float32")

    outputs: list[np.ndarray] = []
    encoder = theirs.resnet.encoder
    watched = [theirs.resnet.embedder, *(block for stage in encoder.stages for block in stage.layers)]
    for module in watched:
        module.register_forward_hook(lambda _, __, output: outputs.append(output.detach().numpy()))
    with torch.no_grad():
        logits = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).logits.numpy()

    parts = [part.name for part in list_parts(spec.stages[:-1])]
    assert len(parts) == len(outputs)
    tapped = medzoo.taps(ours, parts)(images, training=False)
    for part, expected in zip(parts, outputs, strict=True):
        given = np.asarray(tapped[part]).transpose(0, 3, 1, 2)
        assert given.shape == expected.shape
        assert np.abs(given - expected).max() <= 1e-4 * np.abs(expected).max(), part
    given = np.asarray(ours(images, training=False))
    assert np.abs(given - logits).max() <= 1e-4 * np.abs(logits).max()
