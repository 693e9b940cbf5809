"""ViT and DeiT against transformers: every block's output and the logits, through saved weights, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from foreign import require

import medzoo
from medzoo.models import vit
from medzoo.models.rows.vit import ROWS, describe_row
from medzoo.specs import list_parts

torch = require("torch")
transformers = require("transformers")

#: Wide enough for a head of eight channels to differ from one of four.
SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 20,
    "patch_size": 4,
    "num_labels": 5,
}
TINY = {
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 3,
    "intermediate_size": 768,
    "image_size": 224,
    "patch_size": 16,
    "num_labels": 10,
    "layer_norm_eps": 1e-6,
}


def fill(model: Any) -> Any:
    """Give every tensor values of its own, of a size that neither fades nor saturates over the blocks."""
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


def run_theirs(model: Any, images: np.ndarray) -> tuple[dict[str, np.ndarray], Any]:
    """Give what leaves every sub-block, in our layers' names, and the model's own output."""
    outputs: dict[str, Any] = {}
    base = model.base_model
    base.embeddings.register_forward_hook(lambda _m, _i, out: outputs.update(positions=out))
    base.layernorm.register_forward_hook(lambda _m, _i, out: outputs.update(norm=out))
    for number, block in enumerate(base.layers, start=1):
        # The second norm reads what the attention's branch was added to.
        block.layernorm_after.register_forward_pre_hook(
            lambda _m, given, name=f"block{number}_add1": outputs.update({name: given[0]})
        )
        block.register_forward_hook(
            lambda _m, _i, out, name=f"block{number}_add2": outputs.update(
                {name: out[0] if isinstance(out, tuple) else out}
            )
        )
    with torch.no_grad():
        given = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return {name: value.numpy() for name, value in outputs.items()}, given


def assert_near(given: Any, expected: np.ndarray, name: str) -> None:
    values = np.asarray(given)
    assert values.shape == expected.shape, name
    error = np.abs(values - expected).max() / np.abs(expected).max()
    assert error <= 1e-4, f"{name}: relative error {error:.2e}"


def connect(values: Any, weights: Any, name: str) -> np.ndarray:
    """Apply a head."""
    return np.asarray(values) @ weights[f"{name}/kernel"].read() + weights[f"{name}/bias"].read()


def make(kind: str, config: dict[str, Any]) -> Any:
    if kind == "vit":
        return transformers.ViTForImageClassification(transformers.ViTConfig(**config))
    made = transformers.DeiTConfig(**config)
    if kind == "teacher":
        return transformers.DeiTForImageClassificationWithTeacher(made)
    return transformers.DeiTForImageClassification(made)


def build(row: str, config: dict[str, Any]) -> tuple[keras.Model, list[str]]:
    """Build our network of the same sizes with every sub-block's output."""
    epsilon = config.get("layer_norm_eps", 1e-12)  # their default
    heads = config["num_attention_heads"]
    sizes = {"patch": config["patch_size"], "depth": config["num_hidden_layers"], "heads": heads}
    spec = describe_row(
        row,
        {**ROWS[row], **sizes, "head_size": config["hidden_size"] // heads, "epsilon": epsilon},
    )
    inputs = keras.Input((config["image_size"], config["image_size"], 3))
    *_, features = vit.build_parts(spec, inputs, 0.0)
    model = keras.Model(inputs, features)
    names = [part.output for part in list_parts(spec.stages)[:-1]]
    names += [f"block{block}_add1" for block in range(1, config["num_hidden_layers"] + 1)]
    return keras.Model(inputs, [model.get_layer(name).output for name in names]), names


@pytest.mark.parametrize(
    ("kind", "row", "config"),
    [
        ("vit", "vit_ti16", SMALL),
        ("vit", "vit_ti16", SMALL | {"image_size": 8, "num_attention_heads": 6, "layer_norm_eps": 1e-3}),
        ("deit", "deit_ti16_distilled", SMALL),
        ("teacher", "deit_ti16_distilled", SMALL),
        ("vit", "vit_ti16", TINY),
    ],
    ids=["vit", "vit of six heads and a large epsilon", "deit", "deit with teacher", "vit_ti16 as it is"],
)
def test_every_block_and_the_logits(kind: str, row: str, config: dict[str, Any], tmp_path: Path) -> None:
    theirs = fill(make(kind, config))
    theirs.save_pretrained(tmp_path)
    weights = medzoo.open_weights(tmp_path / "model.safetensors")
    model, names = build(row, config)
    heads = {name for name in weights if name.startswith("head")}
    assert {weight.path for weight in model.weights} | heads == set(weights)
    for weight in model.weights:
        weight.assign(weights[weight.path].read())
    size = config["image_size"]
    images = np.random.default_rng(3).normal(size=(2, size, size, 3)).astype("float32")
    expected, output = run_theirs(theirs, images)
    assert set(expected) == set(names)
    outputs = dict(zip(names, model(images, training=False), strict=True))
    for name in names:
        assert_near(outputs[name], expected[name], name)
    logits = connect(outputs["norm"][:, 0], weights, "head")
    if kind == "teacher":
        assert_near(logits, output.cls_logits.numpy(), "head")
        teacher = connect(outputs["norm"][:, 1], weights, "head_distillation")
        assert_near(teacher, output.distillation_logits.numpy(), "head_distillation")
        logits = (logits + teacher) / 2
    assert_near(logits, output.logits.numpy(), "logits")


def test_the_layer_before_the_head_is_their_pooler(tmp_path: Path) -> None:
    theirs = fill(transformers.ViTModel(transformers.ViTConfig(**SMALL)))
    theirs.save_pretrained(tmp_path)
    weights = medzoo.open_weights(tmp_path / "model.safetensors")
    sizes = {"patch": 4, "depth": 4, "heads": 3, "head_size": 8, "epsilon": 1e-12, "pre_logits": True}
    spec = describe_row("vit_ti16", {**ROWS["vit_ti16"], **sizes})
    inputs = keras.Input((20, 20, 3))
    *_, features = vit.build_parts(spec, inputs, 0.0)
    model = keras.Model(inputs, features)
    assert {weight.path for weight in model.weights} == set(weights)
    for weight in model.weights:
        weight.assign(weights[weight.path].read())
    images = np.random.default_rng(3).normal(size=(2, 20, 20, 3)).astype("float32")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).pooler_output.numpy()
    assert_near(model(images)[:, 0], expected, "pre_logits")
