"""BiT against transformers: random weights through its file, the output of every unit, and the logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import require

import medzoo
from medzoo.models.rows.bit import ROWS, describe_row
from medzoo.specs import list_parts

torch = require("torch")
transformers = require("transformers")

#: Largest difference of a part's output, as a share of its largest absolute value.
TOLERANCE = 1e-4
#: BiT's own ε. transformers' layers have 1e-8 and no option for it: the modules' attribute is set.
EPSILON = 1e-10

#: What is compared: transformers' configuration, our options, and the input's side. Where a stride meets an even
#: side, as it does in both, padding by SAME would show.
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "narrow": (
        {"embedding_size": 32, "hidden_sizes": [128, 256, 512], "depths": [2, 3, 1]},
        {"depths": "2-3-1", "width": 0.5},
        75,
    ),
    "bit_r50x1": ({}, {}, 96),
}


def make_theirs(configuration: dict[str, Any]) -> Any:
    """Make a model of transformers with every tensor random, and BiT's ε in its convolutions.

    `global_padding` stays unset: padding by half the kernel, of zeros, on every side; the pooling's too.
    """
    torch.manual_seed(5)
    config = transformers.BitConfig(num_labels=7, **configuration)
    assert config.layer_type == "preactivation"
    assert (config.global_padding, config.embedding_dynamic_padding) == (None, False)
    model = transformers.BitForImageClassification(config).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            # Norms around one, all else around zero, and of the size that trained tensors have.
            centre, spread = (1.0, 0.3) if "norm" in name and name.endswith("weight") else (0.0, 0.1)
            value.copy_(torch.randn(value.shape) * spread + centre)
    convolutions = [
        module for module in model.modules() if type(module).__name__ == "WeightStandardizedConv2d"
    ]
    assert {module.eps for module in convolutions} == {1e-8}
    for module in convolutions:
        module.eps = EPSILON
    norms = [module for module in model.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {(module.eps, module.num_groups) for module in norms} == {(1e-5, 32)}
    return model


def run_theirs(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run a model of transformers; give the output of every part by our name of it, channels last."""
    taken: dict[str, np.ndarray] = {}

    def watch(name: str, module: Any) -> None:
        def note(module: Any, inputs: Any, output: Any) -> None:
            taken[name] = output.numpy().transpose(0, 2, 3, 1)

        module.register_forward_hook(note)

    watch("root", model.bit.embedder)
    for stage, stages in enumerate(model.bit.encoder.stages, start=1):
        for unit, layer in enumerate(stages.layers, start=1):
            assert type(layer).__name__ == "BitPreActivationBottleneckLayer"
            watch(f"block{stage}_unit{unit}", layer)
    watch("final", model.bit.norm)
    with torch.no_grad():
        answer = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return {**taken, "head": answer.logits.numpy()}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_unit_answers_as_transformers_does(name: str, tmp_path: Path) -> None:
    configuration, options, size = NETWORKS[name]
    theirs = make_theirs(configuration)
    theirs.save_pretrained(tmp_path)
    spec = describe_row(name, {**ROWS["bit_r50x1"], **options})
    ours = medzoo.build(spec, classes=7, channels=3, input_size=size)
    source = medzoo.open_weights(tmp_path / "model.safetensors")
    assert source.dialect == "hf_bit"
    plan = medzoo.make_plan(source, medzoo.describe(ours), medzoo.recipes.copy())
    assert plan.coverage == 1.0
    assert not plan.unused
    medzoo.apply(plan, source, ours)
    images = np.random.default_rng(6).uniform(-1, 1, (2, size, size, 3)).astype("float32")
    expected = run_theirs(theirs, images)
    tapped = medzoo.taps(ours, list_parts(spec.stages[:-1]))(images, training=False)
    given = {**tapped, "head": ours(images, training=False)}
    assert set(given) == set(expected)
    errors = {}
    for part, output in given.items():
        assert output.shape == expected[part].shape, part
        errors[part] = float(np.abs(np.asarray(output) - expected[part]).max() / np.abs(expected[part]).max())
    assert max(errors.values()) <= TOLERANCE, errors


def test_a_released_configuration_differs_from_bit_s_epsilon_by_less_than_shows(tmp_path: Path) -> None:
    """With transformers' own ε of 1e-8 the same weights answer alike: BiT's files may be used with either."""
    configuration, _, size = NETWORKS["narrow"]
    theirs = make_theirs(configuration)
    theirs.save_pretrained(tmp_path)
    plain = transformers.BitForImageClassification.from_pretrained(tmp_path).eval()
    images = np.random.default_rng(7).uniform(-1, 1, (1, size, size, 3)).astype("float32")
    given, expected = run_theirs(plain, images), run_theirs(theirs, images)
    assert np.abs(given["head"] - expected["head"]).max() <= TOLERANCE * np.abs(expected["head"]).max()
