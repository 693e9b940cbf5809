"""Latency at batch 1 and throughput at batch 32 of every network, on this machine's CPU; writes docs/zoo.md.

`python benchmarks/zoo.py` measures the rows that `zoo.json` lacks (`--again` all of them), at each row's own input
size with three channels and 1,000 classes, float32, as a TensorFlow graph without XLA. `--write` only writes the page.
A batch of 32 that would take more than LONGEST seconds, by the latency, is not measured.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from processes import describe_machine

import medzoo
from medzoo.models.tables.parts import find_totals
from medzoo.specs import ModelSpec
from medzoo.weights.cards import list_card_names

RESULTS = Path(__file__).with_name("zoo.json")
PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"
LONGEST = 20.0
BATCH = 32


def measure(spec: ModelSpec) -> dict[str, Any]:
    """Measure one row: seconds for one image (median of five), images a second in batches of 32 (best of two)."""
    import keras
    import tensorflow as tf

    predict = _make_graph(spec, tf)
    size = spec.input_size
    latency = statistics.median(_time(predict, tf.random.normal((1, size, size, 3)), 5))
    throughput = None
    if BATCH * latency <= LONGEST:
        throughput = BATCH / min(_time(predict, tf.random.normal((BATCH, size, size, 3)), 2))
    del predict
    keras.utils.clear_session()
    gc.collect()
    return {"latency": latency, "throughput": throughput}


def _make_graph(spec: ModelSpec, tf: Any) -> Any:
    """Build a row and give its prediction as a graph."""
    model = medzoo.build(spec)
    return tf.function(lambda images: model(images, training=False))


def _time(predict: Any, images: Any, repeats: int) -> list[float]:
    """Time repeated calls after one that traces the graph."""
    predict(images).numpy()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        predict(images).numpy()
        seconds.append(time.perf_counter() - start)
    return seconds


def write_page(results: dict[str, Any]) -> None:
    """Write the page from the catalogue's tables and what was measured."""
    lines = [
        "# The zoo in numbers",
        "",
        "Every row of the catalogue, at its own input size with three channels and 1,000 classes. Parameters are all",
        "weights, moving statistics included. MACs are the multiply-accumulates of convolutions, dense layers and",
        "attention for one image. Latency is the median of five calls with one image, throughput the better of two",
        f"batches of {BATCH} (— where that would take more than {LONGEST:g} s); float32, as a TensorFlow graph without",
        "XLA. The contract is the scaling of pixel values, see [data](data.md#preprocessing). Measured and written by",
        "`python benchmarks/zoo.py`:",
        "",
        f"{results['machine']}.",
        "",
        *([results["note"], ""] if "note" in results else []),
        "| model | family | input | least input | contract | parameters | GMACs | ms | images/s | weights |",
        "|---|---|--:|--:|---|--:|--:|--:|--:|---|",
    ]
    cards = list_card_names()
    for spec in medzoo.list_models():
        totals = find_totals(spec)
        row = results["rows"][spec.name]
        tags = [name.removeprefix(f"{spec.name}.") for name in cards if name.startswith(f"{spec.name}.")]
        lines.append(
            f"| `{spec.name}` | {spec.family} | {spec.input_size} | {spec.smallest_input} "
            f"| `{spec.preprocessing.name}` | {totals.parameters:,} | {totals.macs / 1e9:.3g} "
            f"| {_write(1000 * row['latency'])} | {_write(row['throughput'])} | {_list_tags(tags)} |"
        )
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write(number: float | None) -> str:
    """Write a number with three digits, or more where they stand before the point."""
    if number is None:
        return "—"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _list_tags(tags: list[str]) -> str:
    """List the first tags and count the rest."""
    rest = f" and {len(tags) - 3} more" if len(tags) > 3 else ""
    return ", ".join(f"`{tag}`" for tag in tags[:3]) + rest or "—"


def main(arguments: list[str]) -> None:
    """Measure what is missing, then write the page; what is measured is kept after every row."""
    results: dict[str, Any] = {"rows": {}}
    if RESULTS.exists() and "--again" not in arguments:
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    if "--write" not in arguments and results.get("machine", describe_machine()) != describe_machine():
        raise SystemExit("zoo.json was measured elsewhere, or with other versions: --again for all rows")
    if "--write" not in arguments:
        results["machine"] = describe_machine()
        for spec in medzoo.list_models():
            if spec.name not in results["rows"]:
                results["rows"][spec.name] = measure(spec)
                print(spec.name, results["rows"][spec.name], flush=True)
                RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results["rows"] = {spec.name: results["rows"][spec.name] for spec in medzoo.list_models()}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_page(results)


if __name__ == "__main__":
    main(sys.argv[1:])
