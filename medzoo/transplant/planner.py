"""One tensor's step: which rule decides, what the source has for it, how their shapes are brought together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property

from medzoo.errors import PlanError
from medzoo.specs import PREPROCESSINGS, Scalar
from medzoo.tensors import LazyTensor, Role, Source, Target, TensorSpec
from medzoo.transplant.accounting import AbsentError
from medzoo.transplant.adaptations import Adaptations, read_classes
from medzoo.transplant.channels import ChannelChooser, reads_input
from medzoo.transplant.growth import find_identities
from medzoo.transplant.input_channels import read_channel_map
from medzoo.transplant.methods import find_method, find_obstacle, lacks_values
from medzoo.transplant.ranges import keep_shape
from medzoo.transplant.steps import HEADS, Rule, Step, format_shape


@dataclass(frozen=True)
class Planner:
    """Decides steps for one source and target; holds what is worked out once for all tensors."""

    source: Source
    target: Target
    rules: tuple[Rule, ...]
    adaptations: Adaptations
    seed: int

    @cached_property
    def chooser(self) -> ChannelChooser | None:
        """What chooses among channels, where the adaptations say how."""
        pick = self.adaptations.pick
        return ChannelChooser(self.source, self.target, pick, self.seed) if pick else None

    @cached_property
    def identities(self) -> dict[str, str]:
        """How layers that the source lacks are filled to change nothing."""
        return find_identities(self.source, self.target)

    def make_step(self, tensor: TensorSpec) -> Step:
        """Decide one tensor's step.

        Raises:
            PlanError: no rule, no source, no way to bring shapes together, or a method that cannot treat it.
        """
        step = self._decide(tensor)
        if step.method == "fresh" and tensor.initializer is None:
            # A foreign model's own start value is the only one that can be right.
            step = Step(tensor, None, "keep")
        return replace(step, stage=self.target.stages.get(tensor.name, ""))

    def _decide(self, tensor: TensorSpec) -> Step:
        """Find the rule and follow it."""
        is_head = self._is_head(tensor)
        rule = self._find_rule(tensor, is_head)
        options = {key: value for key, value in rule.options.items() if key != "otherwise"}
        otherwise = rule.options.get("otherwise")
        fits = self._head_fits(tensor) or (is_head and bool(self.adaptations.classes))
        given = self.source.tensors.get(tensor.name)
        depthwise = self._filters_apart(tensor)
        obstacle = find_obstacle(rule.method, tensor, given, depthwise)
        self._check_values(tensor, rule.method, given)
        # An identity stands for a layer that the source lacks, never for one of another shape or of moments alone.
        lacking = given is None if otherwise == "identity" else not fits or bool(obstacle)
        if otherwise is not None and lacking:
            return self._fill_otherwise(tensor, str(otherwise), options, depthwise)
        if find_method(rule.method).needs == "nothing":
            if obstacle:
                raise PlanError(f"{tensor.name!r}: {obstacle}")
            return Step(tensor, None, rule.method, self._complete(rule.method, tensor, options))
        if given is None:
            raise AbsentError(f"the source has no {tensor.name!r} {format_shape(tensor.shape)}")
        if obstacle:
            raise PlanError(f"{tensor.name!r}: {obstacle} ({self.source.origin})")
        if is_head and self.adaptations.classes:
            read_classes(self.adaptations.classes, tensor.shape[-1], given.spec.shape[-1])
            if tensor.initializer is None:
                raise PlanError(f"{tensor.name!r} has an initializer that only its model can run")
            ranges = self._pick(tensor)
            if keep_shape(given.spec.shape, ranges)[:-1] != tensor.shape[:-1] or self._lacks_features():
                raise PlanError(
                    f"{tensor.name!r} reads other features than the source's head",
                    "a network that ends as the source's does, for --classes-map",
                    "--head-weights fresh in its place",
                )
            mapped = options | {"classes": self.adaptations.classes}
            return Step(tensor, given.spec, rule.method, mapped, ranges)
        return self._fit(tensor, given.spec, rule.method, options)

    def _check_values(self, tensor: TensorSpec, method: str, given: LazyTensor | None) -> None:
        """Refuse a file of moments where values are needed: it is the wrong file, no reason to fill otherwise."""
        if lacks_values(method, given):
            raise PlanError(
                f"{tensor.name!r}: {method} needs its values, and {self.source.origin} holds moments only",
                "a weights file",
                "--mode stats, which needs no values",
            )

    def _find_rule(self, tensor: TensorSpec, is_head: bool) -> Rule:
        """Find the first rule that decides over a tensor; what the adaptations say of the head comes before all."""
        if is_head and self.adaptations.classes:
            return Rule(tensor.name, "copy")
        if is_head and self.adaptations.head:
            return Rule(tensor.name, self.adaptations.head)
        rule = next((rule for rule in self.rules if rule.decides(tensor, self.target)), None)
        if rule is None:
            raise PlanError(f"no rule covers {tensor.name!r} ({tensor.role})")
        return rule

    def _fill_otherwise(
        self, tensor: TensorSpec, method: str, options: dict[str, Scalar], depthwise: bool
    ) -> Step:
        """Fill a tensor as a rule says where its own method cannot."""
        if method == "identity":
            method = self.identities.get(tensor.name.rpartition("/")[0], "fresh")
            # A separable convolution that were zero in both its kernels would never learn.
            if method == "zero" and (tensor.role not in (Role.KERNEL, Role.BIAS) or depthwise):
                method = "fresh"
        given = self.source.tensors.get(tensor.name)
        self._check_values(tensor, method, given)
        if obstacle := find_obstacle(method, tensor, given, depthwise):
            raise PlanError(f"{tensor.name!r}: {obstacle}")
        if find_method(method).needs == "nothing":
            return Step(tensor, None, method, self._complete(method, tensor, {}))
        assert given is not None
        return self._fit(tensor, given.spec, method, options)

    def _complete(self, method: str, tensor: TensorSpec, options: dict[str, Scalar]) -> dict[str, Scalar]:
        """Add what an identity must know of its layer."""
        if method != "identity":
            return options
        layer = tensor.name.rpartition("/")[0]
        has_scale = f"{layer}/gamma" in self.target.tensors
        if tensor.role is (Role.NORM_SCALE if has_scale else Role.MOVING_VARIANCE):
            return options | {"epsilon": self.target.epsilons.get(layer, 0.0)}
        return options | ({"depthwise": True} if self._filters_apart(tensor) else {})

    def _filters_apart(self, tensor: TensorSpec) -> bool:
        """Tell whether a tensor filters each channel on its own: a depthwise kernel, or that of groups of one."""
        return tensor.role is Role.KERNEL and self.target.axes.get(tensor.name, "").endswith(("cm", ".c"))

    def _head_fits(self, tensor: TensorSpec) -> bool:
        """Tell whether the source has this tensor for the same number of classes (the last axis).

        A derived network that goes without layers of the source never takes its head: it read other features. Where
        channels are picked, the last axis may differ in any tensor but the head's.
        """
        is_head = self._is_head(tensor)
        if is_head and self._lacks_features():
            return False
        if tensor.name not in self.source:
            return False
        picked = bool(self.adaptations.pick) and not is_head
        return picked or self.source[tensor.name].spec.shape[-1:] == tensor.shape[-1:]

    def _is_head(self, tensor: TensorSpec) -> bool:
        """Tell whether a tensor is the head's."""
        return any(fnmatchcase(tensor.name, pattern) for pattern in HEADS.split("|"))

    def _lacks_features(self) -> bool:
        """Tell whether the target goes without layers of the source, so that its head reads other features."""
        return any(fnmatchcase(name, pattern) for pattern in self.target.left_out for name in self.source)

    def _pick(self, tensor: TensorSpec) -> tuple[str, ...]:
        """Give a mapped head's kept input channels; its classes are mapped after."""
        if self.chooser is None or tensor.role is not Role.KERNEL:
            return ()
        classes = self.source[tensor.name].spec.shape[-1]
        wide = replace(tensor, shape=(*tensor.shape[:-1], classes))
        return self.chooser.find_ranges(wide, self.source[tensor.name].spec.shape)[0]

    def _fit(self, tensor: TensorSpec, given: TensorSpec, method: str, options: dict[str, Scalar]) -> Step:
        """Bring a source tensor's shape to the target's: inflation, resizing, kept channels, input channels."""
        wanted = self.adaptations
        shape: tuple[int, ...] = given.shape
        if len(tensor.shape) == len(shape) + 1 and tensor.role is Role.KERNEL and len(shape) == 4:
            if not wanted.inflate:
                raise PlanError(
                    f"{tensor.name!r} is {format_shape(tensor.shape)} here and 2-D in the source",
                    "a way to fill the third dimension",
                    "--inflate mean, or --mode inflate",
                )
            if wanted.inflate == "acs" and (len({*tensor.shape[:3]}) > 1 or tensor.shape[0] % 2 == 0):
                raise PlanError(
                    f"{tensor.name!r} is {format_shape(tensor.shape)}", "cubes of odd size for acs", "mean"
                )
            options = options | {"inflate": wanted.inflate}
            shape = (tensor.shape[0], *shape)
        if len(shape) != len(tensor.shape):
            raise self._mismatch(tensor, given)
        if method == "covariance":  # it draws filters of the target's size
            shape = (*shape[:-4], *tensor.shape[-4:-2], *shape[-2:])
        shape = self._resize(tensor, shape, options)
        ranges: tuple[str, ...] = ()
        # Equal shapes may hold other channels: as many groups, or places after a flattening, of another width.
        if self.chooser is not None:
            ranges, shared = self.chooser.find_ranges(tensor, shape)
            shape = tensor.shape if not reads_input(tensor, self.target) else (*shape[:-1], tensor.shape[-1])
            if shared is not None:
                options["shared"] = shared
            if wanted.noise and ranges and tensor.role is Role.KERNEL:
                options["noise"] = wanted.noise
        if shape != tensor.shape or (reads_input(tensor, self.target) and ":" in wanted.channels):
            differs = shape[:-2] != tensor.shape[:-2] or shape[-1:] != tensor.shape[-1:]
            if differs or not reads_input(tensor, self.target):
                raise self._mismatch(tensor, given)
            options["channels"] = self._check_channels(wanted.channels, shape[-2], tensor)
            if self._order() != "rgb" and (":" in wanted.channels or wanted.channels == "luminance"):
                options["order"] = self._order()
        return Step(tensor, given, method, options, ranges)

    def _resize(
        self, tensor: TensorSpec, shape: tuple[int, ...], options: dict[str, Scalar]
    ) -> tuple[int, ...]:
        """Note the resizing of positions, tables and patches, and give the shape after it."""
        new = shape
        if tensor.role is Role.POSITION and len(shape) == 3 and shape[1] != tensor.shape[1]:
            tokens = [name for name, spec in self.target.tensors.items() if spec.role is Role.TOKEN]
            new = (shape[0], tensor.shape[1], shape[2])
            options["prefix"] = len(tokens)
            for count in (shape[1], tensor.shape[1]):
                if math.isqrt(count - len(tokens)) ** 2 != count - len(tokens):
                    raise PlanError(
                        f"{tensor.name!r} has {count} positions, no square grid and {len(tokens)} tokens"
                    )
        elif tensor.role is Role.POSITION and len(shape) == 2 and shape[0] != tensor.shape[0]:
            new = (tensor.shape[0], shape[1])
        elif (
            tensor.role is Role.KERNEL
            and len(shape) == 4
            and shape[:2] != tensor.shape[:2]
            and reads_input(tensor, self.target)
            and any(spec.role is Role.POSITION for spec in self.target.tensors.values())
        ):
            new = (*tensor.shape[:2], *shape[2:])
        if new != shape:
            options["resize"] = self.adaptations.interpolation
            options["antialias"] = self.adaptations.antialias
        return new

    def _check_channels(self, how: str, count: int, tensor: TensorSpec) -> str:
        """Check how a first kernel's channels are adapted."""
        if ":" in how:
            chosen = read_channel_map(how, count, self._order())
            if len(chosen) != tensor.shape[-2]:
                raise PlanError(
                    f"{how!r} maps {len(chosen)} channels",
                    f"the {tensor.shape[-2]} of {tensor.name!r}",
                    "--channels N, or a pair for each channel",
                )
        elif how == "luminance" and count != 3:
            raise PlanError(
                f"luminance of {count} channels", "three, red, green and blue", "--channel-mode sum"
            )
        return how

    def _order(self) -> str:
        """Give the order of the source's colours."""
        contract = PREPROCESSINGS.get(self.source.preprocessing)
        return contract.order if contract else "rgb"

    def _mismatch(self, tensor: TensorSpec, given: TensorSpec) -> PlanError:
        """Say that shapes differ, and what could bring them together."""
        shapes = f"{format_shape(given.shape)} in the source, {format_shape(tensor.shape)} in the target"
        remedy = "--head-weights fresh" if self._is_head(tensor) else ""
        if not remedy and len(given.shape) == len(tensor.shape) and tensor.role is not Role.POSITION:
            pairs = list(zip(given.shape, tensor.shape, strict=True))
            same_window = all(old == new for old, new in pairs[:-2])
            narrower = all(old >= new for old, new in pairs)
            wider = "--mode widen for a network as deep" if same_window else ""
            remedy = "--mode select, or --pick first" if narrower and same_window else wider
        return PlanError(
            f"{tensor.name!r} is {shapes}", "equal shapes, or a way to bring them together", remedy
        )
