"""Precision and XLA by measured rule, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Choice:
    """A decision and the reason that a person reads beside it."""

    value: str
    reason: str


#: Family → how fast bfloat16 trains ÷ how fast float32 does, where that is below 1 on a CPU that multiplies bfloat16
#: in hardware (AVX512-BF16, two cores, TensorFlow 2.21, both with fused batch norm; medians of steps in turn, at 96 or
#: 128 pixels). These networks spend their time in depthwise convolutions, which have no such kernel. Where pointwise
#: ones weigh more it pays, or at least costs nothing: EfficientNetV2 1.24, Xception 1.31, ConvNeXt 1.06.
SLOWER_IN_BFLOAT16 = {
    "mobilenet": 0.81,
    "mobilenet_v2": 0.77,
    "mobilenet_v3": 0.69,
    "efficientnet": 0.56,
    "nasnet": 0.67,
}


def choose_precision(setting: str, flags: frozenset[str], has_gpu: bool, family: str | None = None) -> Choice:
    """Choose the precision policy: bfloat16 where the processor multiplies it in hardware and the network gains by it.

    Measured on a CPU with AMX (Keras 3.15, TensorFlow 2.21): mixed_bfloat16 trains a CBR network 1.6 times as
    fast as float32; with AVX512-BF16 alone and batch norm fused 1.7 times, ResNet50 1.3 times and ViT-Ti 1.1 times.
    Without either it is emulated. A `family` of networks that it slows down is trained in float32.

    >>> choose_precision("auto", frozenset({"amx_bf16"}), has_gpu=False).value
    'mixed_bfloat16'
    >>> choose_precision("auto", frozenset({"amx_bf16"}), has_gpu=False, family="mobilenet").reason
    'on a CPU bfloat16 trains mobilenet at 0.81 of the speed of float32'
    """
    if setting != "auto":
        return Choice(setting, "as asked for")
    if has_gpu:
        return Choice("mixed_bfloat16", "a GPU is present")
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in flags:
            if family in SLOWER_IN_BFLOAT16:
                ratio = SLOWER_IN_BFLOAT16[family]
                return Choice(
                    "float32", f"on a CPU bfloat16 trains {family} at {ratio} of the speed of float32"
                )
            return Choice("mixed_bfloat16", f"this CPU has {flag}")
    return Choice("float32", "this CPU has neither amx_bf16 nor avx512_bf16")


def choose_xla(setting: str, has_gpu: bool) -> Choice:
    """Choose whether steps are compiled with XLA: on a GPU, not on a CPU.

    Measured on two CPU cores: six networks trained 1.3 to 3.4 times slower with XLA, after seconds of compiling.

    >>> choose_xla("auto", has_gpu=False).value
    'off'
    """
    if setting != "auto":
        return Choice(setting, "as asked for")
    if has_gpu:
        return Choice("on", "a GPU is present")
    return Choice("off", "measured slower on CPUs")


def choose_acceleration(setting: str, has_gpu: bool) -> Choice:
    """Choose whether batch norm runs by the fused kernel (`accelerate`): on a CPU, not on a GPU.

    Measured on CPUs (Keras 3.15, TensorFlow 2.21): Keras's own batch norm takes half of a CBR network's step; fused
    that trained 2.1 times as fast in bfloat16 on two cores with AMX, ResNet50 1.5 times. On a GPU, where XLA fuses
    what Keras decomposes, it was not measured.

    >>> choose_acceleration("auto", has_gpu=False)
    Choice(value='on', reason='measured faster on CPUs')
    """
    if setting != "auto":
        return Choice(setting, "as asked for")
    if has_gpu:
        return Choice("off", "not measured on GPUs, where XLA fuses batch norm")
    return Choice("on", "measured faster on CPUs")


def processor_flags() -> frozenset[str]:
    """Read the processor's feature flags; empty where the system does not tell them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").partition(":")[2].split())


def has_gpu() -> bool:
    """Tell whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
