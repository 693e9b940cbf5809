"""Write the cards of keras.applications from the installed Keras's source: `python weights_registry/generate.py`.

A development tool: run it after Keras changes, and look at what differs. No part of the package imports it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__:
    from . import keras_families, keras_source
else:
    import keras_families  # type: ignore[import-not-found, no-redef]
    import keras_source  # type: ignore[import-not-found, no-redef]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Download:
    """One file that Keras fetches: the network, the tag, the address, the hash (or ""), the input size in pixels."""

    model: str
    tag: str
    address: str
    digest: str
    input_size: int


def _list_downloads(family: keras_families.Family, module: keras_source.KerasModule) -> Iterator[Download]:
    """List the files of one module, by whichever way it names them."""
    if family.models is not None:
        for address, digest in keras_source.list_downloads(module):
            key, model = next((key, model) for key, model in family.models.items() if key in address)
            # Its two functions, NASNetMobile and NASNetLarge, have a default size each.
            variant = f"NASNet{key.rpartition('-')[2].title()}" if family.module == "nasnet" else ""
            size = keras_source.find_input_size(module, variant)
            tag = "imagenet_notop" if address.endswith(("notop.h5", "no-top.h5")) else "imagenet"
            yield Download(model, tag, address, digest, size)
    elif family.module in ("mobilenet", "mobilenet_v2"):
        yield from _list_mobilenets(module)
    else:
        yield from _list_hashed(family, module)


def _list_mobilenets(module: keras_source.KerasModule) -> Iterator[Download]:
    """List MobileNet's and MobileNetV2's files: every width at every input size, without hashes."""
    base = module.constants["BASE_WEIGHT_PATH"]
    for alpha in keras_source.find_choices(module, "alpha"):
        width = f"{round(alpha * 100):03d}"
        for rows in keras_source.find_choices(module, "rows"):
            for notop in (False, True):
                if module.name == "mobilenet":
                    text = "1_0" if alpha == 1 else f"{round(alpha * 100) // 10}_{round(alpha * 100) % 10}"
                    name = f"mobilenet_{text}_{rows}_tf{'_no_top' if notop else ''}.h5"
                else:
                    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{rows}"
                    name += "_no_top.h5" if notop else ".h5"
                tag = "imagenet" + ("" if rows == 224 else f"_{rows}") + ("_notop" if notop else "")
                yield Download(f"{module.name}_{width}", tag, base + name, "", rows)


def _list_hashed(family: keras_families.Family, module: keras_source.KerasModule) -> Iterator[Download]:
    """List the files of a module with a table of hashes: for each key the whole file's and the headless one's."""
    # ResNetV2 uses ResNet's table and folder; ResNeXt's rows have no network in Keras 3.
    table = keras_source.read_module("resnet") if family.module == "resnet_v2" else module
    base = table.constants.get("BASE_WEIGHTS_PATH") or table.constants["BASE_WEIGHT_PATH"]
    for key, hashes in table.constants["WEIGHTS_HASHES"].items():
        if key.startswith("resnext") or (
            table.name == "resnet" and key.endswith("v2") != (family.module == "resnet_v2")
        ):
            continue
        for digest, notop in zip(hashes, (False, True), strict=True):
            model, name, size = _name_hashed(module, key, notop)
            yield Download(model, "imagenet_notop" if notop else "imagenet", base + name, digest, size)


def _name_hashed(module: keras_source.KerasModule, key: str, notop: bool) -> tuple[str, str, int]:
    """Give the network, the file's name and the input size for one key of a module's table of hashes."""
    end = "_notop.h5" if notop else ".h5"
    if module.name in ("resnet", "resnet_v2"):
        # ResNetV2's network is built by ResNet's function, which has the one default size of both.
        size = keras_source.find_input_size(keras_source.read_module("resnet"))
        return key, f"{key}_weights_tf_dim_ordering_tf_kernels{end}", size
    if module.name == "mobilenet_v3":
        kind, size_text, alpha, _ = key.rsplit("_", 3)
        width = "" if kind.endswith("minimalistic") else f"_{round(float(alpha) * 100):03d}"
        file = f"weights_mobilenet_v3_{key}{'_no_top_v2' if notop else ''}.h5"
        return f"mobilenet_v3_{kind}{width}", file, int(size_text)
    if module.name == "efficientnet":
        return f"efficientnet{key}", f"efficientnet{key}{end}", keras_source.find_input_size(module, key)
    if module.name == "efficientnet_v2":
        size = keras_source.find_input_size(module, key)
        return f"efficientnetv2_{key.strip('-')}", f"efficientnetv2-{key.strip('-')}{end}", size
    configs = module.constants["MODEL_CONFIGS"]
    return key, f"{key}{end}", configs[key.removeprefix("convnext_")]["default_size"]


def make_cards() -> dict[str, dict[str, Any]]:
    """Make every card of keras.applications: its name and its fields."""
    cards: dict[str, dict[str, Any]] = {}
    for family in keras_families.FAMILIES:
        module = keras_source.read_module(family.module)
        for quote in family.quotes:
            if quote not in module.text:
                raise SystemExit(
                    f"{module.place} no longer holds {quote}: read it and correct {Path(__file__).name}"
                )
        for download in _list_downloads(family, module):
            card = _make_card(family, module, download)
            cards[card["name"]] = card
    return cards


def _make_card(
    family: keras_families.Family, module: keras_source.KerasModule, download: Download
) -> dict[str, Any]:
    """Make one card: Keras's facts, the family's, and those measured."""
    name = f"{download.model}.{download.tag}"
    notop = download.tag.endswith("_notop")
    measured = keras_families.MEASURED.get(name, {})
    algorithm = {0: "", 32: "md5:", 64: "sha256:"}[len(download.digest)]
    known = family.licence != "unknown"
    training_data, training_source = (
        keras_families.IMAGENET,
        f"{module.place}: 'pre-training on ImageNet'; {keras_families.IMAGENET_TERMS}",
    )
    if download.model in ("convnext_base", "convnext_large", "convnext_xlarge"):
        training_data = (
            "ImageNet-21k, then ImageNet-1k (ILSVRC 2012); their images are for non-commercial research"
        )
        training_source = f"{module.place}: BASE_DOCSTRING; {keras_families.IMAGENET_TERMS}"
    preprocessing, preprocessing_source = _find_contract(family, module, download.model)
    sources = {
        "urls": module.place,
        "digest": f"{module.place}: file_hash" if algorithm else "",
        "classes": f"{module.place}: include_top"
        + ("=False leaves the head out" if notop else ", classes=1000"),
        "labels": "" if notop else f"{module.place}: decode_predictions",
        "preprocessing": preprocessing_source,
        "input_size": f"{module.place}: default_size"
        if "mobilenet" not in module.name
        else f"{module.place}: rows",
        "licence": family.licence_source,
        "training_data": training_source,
        "redistribution": "the licence permits it" if known else "",
    } | measured.get("sources", {})
    return {
        "name": name,
        "model": download.model,
        "urls": [download.address],
        "digest": measured.get("digest", algorithm + download.digest),
        "size": measured.get("size", 0),
        "format": "keras_legacy_h5",
        # Most dialects name the head alone: without it a file names its tensors as Keras does.
        "dialect": "keras"
        if notop and not family.renames_all
        else family.dialect.format(model=download.model),
        "classes": 0 if notop else 1000,
        "labels": "none" if notop else "imagenet-1k",
        "preprocessing": preprocessing,
        "input_size": download.input_size,
        "resize": "unknown",
        "licence": family.licence,
        "training_data": training_data,
        "citation": family.citation,
        "redistribution": "yes" if known else "unknown",
        "by_hand": False,
        "moments": measured.get("moments", ""),
        "sources": {field: text for field, text in sources.items() if text},
    }


def _find_contract(
    family: keras_families.Family, module: keras_source.KerasModule, model: str
) -> tuple[str, str]:
    """Give the contract of a network without the layers that scale inside it, and where it stands."""
    mode = keras_source.find_mode(module)
    if family.inside is None:
        return mode, f"{module.place}: preprocess_input"
    if mode != "raw":
        raise SystemExit(f"{module.place} scales inside, and in preprocess_input too: {mode}")
    contract = next(name for start, name in family.inside.items() if model.startswith(start))
    return contract, f"{module.place}: {family.inside_source}"


def format_card(card: Mapping[str, Any]) -> str:
    """Write a card as TOML: one line a field, tables inline, `sources` last.

    >>> print(format_card({"name": "a.b", "sources": {"size": "the file"}}), end="")
    name = "a.b"
    <BLANKLINE>
    [sources]
    size = "the file"
    """
    lines = [f"{field} = {_format_value(value)}" for field, value in card.items() if field != "sources"]
    lines += ["", "[sources]"]
    lines += [f"{field} = {_format_value(value)}" for field, value in card["sources"].items()]
    return "\n".join(lines) + "\n"


def _format_value(value: Any) -> str:
    """Write one value as TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_format_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_format_value(item) for item in value) + "]"
    # JSON's strings, numbers and truth values are TOML's.
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Write the cards beside this file."""
    cards = make_cards()
    for name, card in cards.items():
        (FOLDER / f"{name}.toml").write_text(format_card(card), encoding="utf-8")
    sys.stdout.write(f"{len(cards)} cards of keras.applications\n")


if __name__ == "__main__":
    main()
