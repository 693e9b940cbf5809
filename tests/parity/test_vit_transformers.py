"""ViT and DeiT against transformers: every block's output and the logits, through saved weights, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from foreign import require

import medzoo
from medzoo.models.rows.vit import ROWS, describe_row
from medzoo.specs import ModelSpec, Stage, list_parts

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


def make(kind: str, config: dict[str, Any]) -> Any:
    if kind == "vit":
        return transformers.ViTForImageClassification(transformers.ViTConfig(**config))
    made = transformers.DeiTConfig(**config)
    if kind == "teacher":
        return transformers.DeiTForImageClassificationWithTeacher(made)
    return transformers.DeiTForImageClassification(made)


def derive(row: str, config: dict[str, Any], pre_logits: bool = False) -> ModelSpec:
    """Describe our network of the same sizes."""
    heads = config["num_attention_heads"]
    sizes = {
        "patch": config["patch_size"],
        "depth": config["num_hidden_layers"],
        "heads": heads,
        "head_size": config["hidden_size"] // heads,
        "epsilon": config.get("layer_norm_eps", 1e-12),  # their default
    }
    return describe_row(row, {**ROWS[row], **sizes, "pre_logits": pre_logits})


def fill_ours(model: keras.Model, path: Path) -> list[str]:
    """Copy a file's weights into our network, all of them; give the tensors that it does not hold."""
    source = medzoo.open_weights(path / "model.safetensors")
    plan = medzoo.make_plan(source, medzoo.describe(model), medzoo.recipes.copy())
    assert not plan.unused
    medzoo.apply(plan, source, model)
    started = [step.target.name for step in plan.steps if not step.uses_source]
    assert (plan.coverage == 1.0) == (not started)
    return started


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
    size = config["image_size"]
    spec = derive(row, config)
    ours = medzoo.build(spec, classes=config["num_labels"], channels=3, input_size=size)
    # DeiT without its teacher's head is a network of one head.
    missing = ["head_distillation/kernel", "head_distillation/bias"] if kind == "deit" else []
    assert fill_ours(ours, tmp_path) == missing
    images = np.random.default_rng(3).normal(size=(2, size, size, 3)).astype("float32")
    expected, output = run_theirs(theirs, images)
    names = [part.output for part in list_parts(spec.stages[:-1])]
    names += [f"block{block}_add1" for block in range(1, config["num_hidden_layers"] + 1)]
    assert set(expected) == set(names)
    heads = [layer.name for layer in ours.layers if isinstance(layer, keras.layers.Dense)]
    heads = [name for name in heads if name.startswith("head")]
    layers = [Stage(name, name, name) for name in names + heads]
    outputs = medzoo.taps(ours, layers)(images, training=False)
    for name in names:
        assert_near(outputs[name], expected[name], name)
    if kind == "deit":
        assert_near(outputs["head"], output.logits.numpy(), "head")
        return
    if kind == "teacher":
        assert_near(outputs["head"], output.cls_logits.numpy(), "head")
        assert_near(outputs["head_distillation"], output.distillation_logits.numpy(), "head_distillation")
    assert_near(ours(images, training=False), output.logits.numpy(), "logits")


def test_the_layer_before_the_head_is_their_pooler(tmp_path: Path) -> None:
    """Seen through our head of the class token, which gives what it gets where its kernel is the identity."""
    theirs = fill(transformers.ViTModel(transformers.ViTConfig(**SMALL)))
    theirs.save_pretrained(tmp_path)
    width, size = SMALL["hidden_size"], SMALL["image_size"]
    spec = derive("vit_ti16", SMALL, pre_logits=True)
    bare = medzoo.build(spec, channels=3, input_size=size, head="none")
    assert fill_ours(bare, tmp_path) == []
    ours = medzoo.build(spec, classes=width, channels=3, input_size=size)
    assert fill_ours(ours, tmp_path) == ["head/kernel", "head/bias"]
    ours.get_layer("head").set_weights([np.eye(width), np.zeros(width)])
    images = np.random.default_rng(3).normal(size=(2, size, size, 3)).astype("float32")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).pooler_output.numpy()
    assert_near(ours(images, training=False), expected, "pre_logits")
    assert_near(bare(images, training=False)[:, 0], expected, "pre_logits")
