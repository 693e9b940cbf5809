"""Source + target + rules → plan: one step for every tensor, decided before a byte is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from medzoo.errors import PlanError, nearest
from medzoo.specs import Scalar
from medzoo.tensors import Role, Source, Target, TensorSpec
from medzoo.transplant.channels import can_adapt_channels
from medzoo.transplant.methods import METHODS, find_method


@dataclass(frozen=True)
class Rule:
    """What to do with the target tensors whose name (and role, if any are given) match; the first match wins.

    `match` is one or more globs joined by `|`. The option `otherwise` names the method for a tensor that the
    source lacks or holds for another number of classes; without it, both are errors.
    """

    match: str
    method: str
    options: Mapping[str, Scalar] = field(default_factory=dict)
    roles: tuple[Role, ...] = ()

    def covers(self, tensor: TensorSpec) -> bool:
        """Tell whether the rule is for this tensor.

        >>> Rule("conv1/*|bn1/*", "copy").covers(TensorSpec("bn1/gamma", (4,), "float32", Role.NORM_SCALE))
        True
        """
        if self.roles and tensor.role not in self.roles:
            return False
        return any(fnmatchcase(tensor.name, pattern) for pattern in self.match.split("|"))


@dataclass(frozen=True)
class Step:
    """What is done to fill one target tensor."""

    target: TensorSpec
    source: TensorSpec | None
    method: str
    options: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def uses_source(self) -> bool:
        """Whether values or moments of the source end up in the tensor."""
        return METHODS[self.method].needs != "nothing"


@dataclass(frozen=True)
class Plan:
    """Every step of a transplant, what of the source is left over, and what a replay needs to know.

    `dialect` is the one that was forced, or empty; `input_size` and `head` are 0 and empty where they are the
    network's own.
    """

    steps: tuple[Step, ...]
    unused: tuple[str, ...]
    seed: int
    source_digest: str
    origin: str = ""
    model: str = ""
    classes: int = 0
    channels: int = 0
    dialect: str = ""
    input_size: int = 0
    head: str = ""

    @property
    def coverage(self) -> float:
        """The share of the target's values that came from the source."""
        total = sum(step.target.size for step in self.steps)
        return sum(step.target.size for step in self.steps if step.uses_source) / total

    def __str__(self) -> str:
        """Print one row per tensor, then the coverage."""
        from medzoo.transplant.table import format_plan

        return format_plan(self)


def make_plan(
    source: Source,
    target: Target,
    rules: Iterable[Rule],
    seed: int = 0,
    ignore: Sequence[str] = (),
) -> Plan:
    """Decide one step for every target tensor; nothing is read but names, shapes and roles.

    Every source tensor must share its name with a target tensor or match a glob of `ignore`, or belong to a part that a
    network derived from the source's goes without.

    Raises:
        PlanError: a tensor without a rule or a source, shapes that cannot match, a method that cannot treat a
            role or needs values that a moments file lacks, a source tensor left over; all are counted, the
            first are named.

    >>> import numpy, medzoo
    >>> from medzoo import recipes
    >>> source = medzoo.open_weights("mobilenet_075.imagenet", values=False)
    >>> target = medzoo.describe("mobilenet_075", classes=2, channels=1)
    >>> make_plan(source, target, recipes.stats()).steps[0].method
    'resample'
    """
    _check_arguments(source, target)
    if seed < 0:
        raise PlanError(f"seed {seed}", "a whole number of 0 or more", "--seed 0")
    rules = tuple(rules)
    if not all(isinstance(rule, Rule) for rule in rules):
        raise PlanError("rules that are no Rule", "what a recipe gives", "medzoo.recipes.copy()")
    steps: list[Step] = []
    problems: list[PlanError] = []
    for tensor in target.tensors.values():
        try:
            steps.append(_make_step(tensor, source, target, rules))
        except PlanError as problem:
            problems.append(problem)
    unused = tuple(name for name in source if name not in target.tensors)
    if problems:
        _refuse(problems, source, target, unused)
    # What a derived network goes without, the weights of its row may have.
    allowed = (*ignore, *target.left_out)
    left_over = [name for name in unused if not any(fnmatchcase(name, pattern) for pattern in allowed)]
    if left_over:
        raise PlanError(
            f"{len(left_over)} of {len(source)} tensors of {source.origin} have no place in the target, "
            f"first {left_over[0]!r}",
            "every source tensor to be used or ignored",
            f"--ignore '{left_over[0]}' or --ignore '*' for all",
        )
    return Plan(
        tuple(steps),
        unused,
        seed,
        source.digest,
        source.origin,
        target.model,
        target.classes,
        target.channels,
        input_size=target.input_size,
        head=target.head,
    )


def _check_arguments(source: object, target: object) -> None:
    """Refuse what is no source or no target, such as a path or a model."""
    if not isinstance(source, Source):
        raise PlanError(f"a source of type {type(source).__name__}", "a Source", "medzoo.open_weights(…)")
    if not isinstance(target, Target):
        raise PlanError(f"a target of type {type(target).__name__}", "a Target", "medzoo.describe(model)")


def needs_values(rules: Iterable[Rule], target: Target) -> bool:
    """Tell whether any rule that decides over a tensor of the target needs values, or moments are enough."""
    rules = tuple(rules)
    deciding = {
        next((rule.method for rule in rules if rule.covers(tensor)), "") for tensor in target.tensors.values()
    }
    return any(find_method(name).needs == "values" for name in deciding if name)


def _refuse(problems: Sequence[PlanError], source: Source, target: Target, unused: Sequence[str]) -> None:
    """Raise one error for all impossible steps, with both inventories' sizes and what was left over."""
    more = f" (and {len(problems) - 1} more such tensors)" if len(problems) > 1 else ""
    left = f"; left over in the source: {', '.join(unused[:3])}" if unused else ""
    found = f"{problems[0].found}{more}; source {len(source)} tensors, target {len(target.tensors)}{left}"
    raise PlanError(found, "weights of the same architecture", "medzoo weights inspect SRC")


def _make_step(tensor: TensorSpec, source: Source, target: Target, rules: Sequence[Rule]) -> Step:
    """Decide one tensor's step."""
    rule = next((rule for rule in rules if rule.covers(tensor)), None)
    if rule is None:
        raise PlanError(f"no rule covers {tensor.name!r} ({tensor.role})")
    options = {key: value for key, value in rule.options.items() if key != "otherwise"}
    otherwise = rule.options.get("otherwise")
    if otherwise is not None and not _head_fits(tensor, source, target):
        return _check_step(Step(tensor, None, str(otherwise), options), source)
    if find_method(rule.method).needs == "nothing":
        return _check_step(Step(tensor, None, rule.method, options), source)
    if tensor.name not in source:
        near = nearest(tensor.name, source, count=2) if len(source) else "none"
        raise PlanError(
            f"the source has no {tensor.name!r} {format_shape(tensor.shape)}, nearest {near.removeprefix('one of ')}"
        )
    given = source[tensor.name].spec
    if given.shape != tensor.shape:
        if not can_adapt_channels(given, tensor, target):
            shapes = f"{format_shape(given.shape)} in the source, {format_shape(tensor.shape)} in the target"
            raise PlanError(f"{tensor.name!r} is {shapes}")
        options["channels"] = "sum"
    return _check_step(Step(tensor, given, rule.method, options), source)


def _head_fits(tensor: TensorSpec, source: Source, target: Target) -> bool:
    """Tell whether the source has this tensor for the same number of classes (the last axis).

    A derived network that goes without layers of the source never takes its head: it read other features.
    """
    if any(fnmatchcase(name, pattern) for pattern in target.left_out for name in source):
        return False
    return tensor.name in source and source[tensor.name].spec.shape[-1:] == tensor.shape[-1:]


def _check_step(step: Step, source: Source) -> Step:
    """Check that the method can treat the tensor with what the source holds."""
    method = find_method(step.method)
    name = step.target.name
    if step.target.role not in method.accepts:
        raise PlanError(f"{step.method} cannot treat {name!r}, a {step.target.role}")
    if method.needs == "values" and not source[name].has_values:
        raise PlanError(f"{step.method} needs the values of {name!r}, and {source.origin} holds moments only")
    if step.method == "fresh" and step.target.initializer is None:
        # A foreign model's own start value is the only one that can be right.
        return Step(step.target, None, "keep", step.options)
    return step


def format_shape(shape: tuple[int, ...]) -> str:
    """Write a shape as people do.

    >>> format_shape((3, 3, 1, 24))
    '3×3×1×24'
    """
    return "×".join(map(str, shape)) or "scalar"
