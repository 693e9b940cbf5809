"""Files that transformers and PyTorch write, read tensor for tensor by names and axes typed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import require
from scipy.special import erf

import medzoo

torch = require("torch")
transformers = require("transformers")

Arrays = dict[str, np.ndarray]

SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "image_size": 8,
    "patch_size": 4,
    "num_labels": 3,
}


class Taken:
    """Our tensors made of a model's state, and which of its tensors were taken."""

    def __init__(self, model: Any) -> None:
        self.state = {name: value.numpy() for name, value in model.state_dict().items()}
        self.ours: Arrays = {}
        self.names: set[str] = set()

    def take(self, theirs: str, ours: str, axes: tuple[int, ...] | None = None) -> None:
        assert ours not in self.ours
        self.names.add(theirs)
        self.ours[ours] = self.state[theirs] if axes is None else self.state[theirs].transpose(axes)

    def convolution(self, theirs: str, ours: str, bias: bool = False) -> None:
        self.take(f"{theirs}.weight", f"{ours}/kernel", (2, 3, 1, 0))
        if bias:
            self.take(f"{theirs}.bias", f"{ours}/bias")

    def dense(self, theirs: str, ours: str, bias: bool = True) -> None:
        self.take(f"{theirs}.weight", f"{ours}/kernel", (1, 0))
        if bias:
            self.take(f"{theirs}.bias", f"{ours}/bias")

    def norm(self, theirs: str, ours: str, moving: bool = False) -> None:
        self.take(f"{theirs}.weight", f"{ours}/gamma")
        self.take(f"{theirs}.bias", f"{ours}/beta")
        if moving:
            self.take(f"{theirs}.running_mean", f"{ours}/moving_mean")
            self.take(f"{theirs}.running_var", f"{ours}/moving_variance")
            self.names.add(f"{theirs}.num_batches_tracked")  # Keras has no counter


def fill(model: Any) -> Any:
    """Give every tensor values of its own: fresh biases, tokens and statistics are alike."""
    torch.manual_seed(3)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.dtype.is_floating_point:
                value.copy_(torch.randn(value.shape).abs() + 0.1)
    return model.eval()


def take_resnet(model: Any) -> Taken:
    taken = Taken(model)
    unit = "resnet.embedder.embedder"
    taken.convolution(f"{unit}.convolution", "conv1_conv")
    taken.norm(f"{unit}.normalization", "conv1_bn", moving=True)
    units = 3 if model.config.layer_type == "bottleneck" else 2
    for stage, depth in enumerate(model.config.depths):
        for block in range(depth):
            theirs = f"resnet.encoder.stages.{stage}.layers.{block}"
            ours = f"conv{stage + 2}_block{block + 1}"
            for index in range(units):
                taken.convolution(f"{theirs}.layer.{index}.convolution", f"{ours}_{index + 1}_conv")
                taken.norm(f"{theirs}.layer.{index}.normalization", f"{ours}_{index + 1}_bn", moving=True)
            if f"{theirs}.shortcut.convolution.weight" in taken.state:
                taken.convolution(f"{theirs}.shortcut.convolution", f"{ours}_0_conv")
                taken.norm(f"{theirs}.shortcut.normalization", f"{ours}_0_bn", moving=True)
    taken.dense("classifier.1", "head")
    return taken


def take_bit(model: Any) -> Taken:
    taken = Taken(model)
    taken.convolution("bit.embedder.convolution", "root_conv")
    for stage, depth in enumerate(model.config.depths):
        for block in range(depth):
            theirs = f"bit.encoder.stages.{stage}.layers.{block}"
            ours = f"block{stage + 1}_unit{block + 1}"
            for number, letter in ((1, "a"), (2, "b"), (3, "c")):
                taken.norm(f"{theirs}.norm{number}", f"{ours}_{letter}_gn")
                taken.convolution(f"{theirs}.conv{number}", f"{ours}_{letter}_conv")
            if block == 0:
                taken.convolution(f"{theirs}.downsample.conv", f"{ours}_proj_conv")
    taken.norm("bit.norm", "final_gn")
    taken.dense("classifier.1", "head")
    return taken


def take_attention(taken: Taken, theirs: str, ours: str) -> None:
    taken.dense(f"{theirs}.attention.q_proj", f"{ours}_query")
    taken.dense(f"{theirs}.attention.k_proj", f"{ours}_key")
    taken.dense(f"{theirs}.attention.v_proj", f"{ours}_value")
    taken.dense(f"{theirs}.attention.o_proj", f"{ours}_projection")
    taken.norm(f"{theirs}.layernorm_before", f"{ours}_norm1")
    taken.norm(f"{theirs}.layernorm_after", f"{ours}_norm2")
    taken.dense(f"{theirs}.mlp.fc1", f"{ours}_mlp1")
    taken.dense(f"{theirs}.mlp.fc2", f"{ours}_mlp2")


def take_vit(model: Any) -> Taken:
    taken, name = Taken(model), model.base_model_prefix
    taken.take(f"{name}.embeddings.cls_token", "tokens/cls_token")
    taken.take(f"{name}.embeddings.position_embeddings", "positions/pos_embed")
    taken.convolution(f"{name}.embeddings.patch_embeddings.projection", "patch_embed", bias=True)
    for block in range(model.config.num_hidden_layers):
        take_attention(taken, f"{name}.layers.{block}", f"block{block + 1}")
    taken.norm(f"{name}.layernorm", "norm")
    if name == "deit":
        taken.take("deit.embeddings.distillation_token", "tokens/distillation_token")
    if hasattr(model, "cls_classifier"):
        taken.dense("cls_classifier", "head")
        taken.dense("distillation_classifier", "head_distillation")
    else:
        taken.dense("classifier", "head")
    return taken


def take_swin(model: Any) -> Taken:
    taken = Taken(model)
    taken.convolution("swin.embeddings.patch_embeddings.projection", "patch_embed", bias=True)
    taken.norm("swin.embeddings.norm", "patch_norm")
    for stage, depth in enumerate(model.config.depths):
        for block in range(depth):
            theirs = f"swin.encoder.layers.{stage}.blocks.{block}"
            ours = f"stage{stage + 1}_block{block + 1}"
            take_attention(taken, theirs, ours)
            table = "relative_position_bias_table"
            taken.take(f"{theirs}.attention.relative_position_bias.{table}", f"{ours}_positions/{table}")
        if stage < len(model.config.depths) - 1:
            downsample = f"swin.encoder.layers.{stage}.downsample"
            taken.norm(f"{downsample}.norm", f"stage{stage + 1}_downsample_norm")
            taken.dense(f"{downsample}.reduction", f"stage{stage + 1}_downsample_reduction", bias=False)
    taken.norm("swin.layernorm", "norm")
    taken.dense("classifier", "head")
    return taken


def make_resnet(layer_type: str = "bottleneck") -> Any:
    return transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            embedding_size=4, hidden_sizes=[8, 12], depths=[2, 1], layer_type=layer_type, num_labels=3
        )
    )


def make_bit() -> Any:
    return transformers.BitForImageClassification(
        transformers.BitConfig(
            embedding_size=32, hidden_sizes=[128, 256], depths=[2, 1], num_groups=32, num_labels=3
        )
    )


def make_swin() -> Any:
    return transformers.SwinForImageClassification(
        transformers.SwinConfig(
            image_size=32, embed_dim=4, depths=[1, 2], num_heads=[1, 2], window_size=2, num_labels=3
        )
    )


MODELS: dict[str, tuple[str, Callable[[], Any], Callable[[Any], Taken]]] = {
    "resnet": ("hf_resnet", make_resnet, take_resnet),
    "resnet of basic blocks": ("hf_resnet", lambda: make_resnet("basic"), take_resnet),
    "bit": ("hf_bit", make_bit, take_bit),
    "vit": (
        "hf_vit",
        lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)),
        take_vit,
    ),
    "deit": (
        "hf_deit",
        lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**SMALL)),
        take_vit,
    ),
    "deit with teacher": (
        "hf_deit",
        lambda: transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**SMALL)),
        take_vit,
    ),
    "swin": ("hf_swin", make_swin, take_swin),
}


@pytest.fixture(scope="module", params=MODELS)
def saved(request: pytest.FixtureRequest) -> tuple[str, Any, Taken]:
    """A dialect, a model of it, and what its tensors are in our names."""
    dialect, make, take = MODELS[request.param]
    model = fill(make())
    return dialect, model, take(model)


def assert_holds(path: Path, dialect: str, expected: Arrays) -> None:
    source = medzoo.open_weights(path)
    assert source.dialect == dialect
    assert sorted(source) == sorted(expected)
    assert not any("unknown" in note for note in source.notes)
    for name, values in expected.items():
        assert source[name].spec.shape == values.shape
        np.testing.assert_array_equal(source[name].read(), values, err_msg=name)


def test_every_tensor_of_a_model_is_accounted_for(saved: tuple[str, Any, Taken]) -> None:
    _, _, taken = saved
    assert set(taken.state) - taken.names == set()


def test_a_saved_model(saved: tuple[str, Any, Taken], tmp_path: Path) -> None:
    dialect, model, taken = saved
    model.save_pretrained(tmp_path)
    assert_holds(tmp_path / "model.safetensors", dialect, taken.ours)


def test_a_saved_base_model_lacks_the_prefix_and_the_head(
    saved: tuple[str, Any, Taken], tmp_path: Path
) -> None:
    dialect, model, taken = saved
    model.base_model.save_pretrained(tmp_path)
    expected = {name: values for name, values in taken.ours.items() if not name.startswith("head")}
    assert_holds(tmp_path / "model.safetensors", dialect, expected)


def test_a_state_dictionary_saved_by_pytorch(saved: tuple[str, Any, Taken], tmp_path: Path) -> None:
    dialect, model, taken = saved
    torch.save(model.state_dict(), tmp_path / "model.pth")
    assert_holds(tmp_path / "model.pth", dialect, taken.ours)


def test_a_pooler_is_the_layer_before_the_head(tmp_path: Path) -> None:
    model = fill(transformers.ViTModel(transformers.ViTConfig(**SMALL)))
    model.save_pretrained(tmp_path)
    source = medzoo.open_weights(tmp_path / "model.safetensors")
    assert source.dialect == "hf_vit"
    np.testing.assert_array_equal(source["pre_logits/kernel"].read(), model.pooler.dense.weight.detach().T)


def normalise(values: np.ndarray, weights: Any, name: str) -> np.ndarray:
    """Apply a layer norm."""
    centred = values - values.mean(-1, keepdims=True)
    scaled = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-12)
    return scaled * np.asarray(weights[f"{name}/gamma"]) + np.asarray(weights[f"{name}/beta"])


def connect(values: np.ndarray, weights: Any, name: str) -> np.ndarray:
    """Apply a dense layer."""
    return values @ np.asarray(weights[f"{name}/kernel"]) + np.asarray(weights[f"{name}/bias"])


def run_vit(image: np.ndarray, weights: Any, heads: int) -> np.ndarray:
    """Run a ViT on one image (height, width, channels) with our names and axes, in NumPy."""
    kernel = np.asarray(weights["patch_embed/kernel"])
    size = kernel.shape[0]
    rows, columns = image.shape[0] // size, image.shape[1] // size
    patches = image.reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
    tokens = patches @ kernel.reshape(-1, kernel.shape[3]) + np.asarray(weights["patch_embed/bias"])
    tokens = np.concatenate([np.asarray(weights["tokens/cls_token"])[0], tokens])
    tokens = tokens + np.asarray(weights["positions/pos_embed"])[0]
    block = 1
    while f"block{block}_norm1/gamma" in weights:
        inner = normalise(tokens, weights, f"block{block}_norm1")
        query, key, value = (
            connect(inner, weights, f"block{block}_{name}").reshape(len(tokens), heads, -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        scores = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(query.shape[2]))
        mixed = (scores / scores.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(len(tokens), -1)
        tokens = tokens + connect(mixed, weights, f"block{block}_projection")
        inner = connect(normalise(tokens, weights, f"block{block}_norm2"), weights, f"block{block}_mlp1")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        tokens = tokens + connect(inner, weights, f"block{block}_mlp2")
        block += 1
    return connect(normalise(tokens, weights, "norm")[0], weights, "head")


def test_a_vit_in_our_names_gives_the_outputs_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(7)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)).eval()
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.randn(value.shape) * 0.5)
        image = torch.randn(1, 3, 8, 8)
        expected = model(image).logits.numpy()[0]
    model.save_pretrained(tmp_path)
    weights = medzoo.open_weights(tmp_path / "model.safetensors")
    given = run_vit(image.numpy()[0].transpose(1, 2, 0).astype("float64"), weights, heads=2)
    np.testing.assert_allclose(given, expected, atol=1e-4)
