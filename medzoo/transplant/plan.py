"""Source + target + rules → plan: one step for every tensor, decided before a byte is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from medzoo.errors import PlanError
from medzoo.tensors import Source, Target, TensorSpec
from medzoo.transplant.accounting import explain_left_over, explain_problems
from medzoo.transplant.adaptations import PLAIN, Adaptations
from medzoo.transplant.folding import fold_steps
from medzoo.transplant.methods import find_method
from medzoo.transplant.planner import Planner
from medzoo.transplant.steps import Plan as Plan
from medzoo.transplant.steps import Rule as Rule
from medzoo.transplant.steps import Step as Step
from medzoo.transplant.steps import format_shape as format_shape


def make_plan(
    source: Source,
    target: Target,
    rules: Iterable[Rule],
    seed: int = 0,
    ignore: Sequence[str] = (),
    adaptations: Adaptations = PLAIN,
    hash_source: bool = True,
) -> Plan:
    """Decide one step for every target tensor; nothing is read but names, shapes and roles.

    Every source tensor must share its name with a target tensor or match a glob of `ignore`, or belong to a part that a
    network derived from the source's goes without. `adaptations` say how shapes that differ are brought together.
    Without `hash_source`, the plan lacks the source's digest: `write` enters it, hashing a large file while it writes.

    Raises:
        PlanError: a tensor without a rule or a source, shapes that cannot be brought together, a method that cannot
            treat a role or needs values that a moments file lacks, a source tensor left over; all are counted, the
            first are named, with the nearest names and a rule to paste.

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
    planner = Planner(source, target, rules, adaptations, seed)
    steps: list[Step] = []
    problems: list[tuple[TensorSpec, PlanError]] = []
    for tensor in target.tensors.values():
        try:
            steps.append(planner.make_step(tensor))
        except PlanError as problem:
            problems.append((tensor, problem))
    unused = tuple(name for name in source if name not in target.tensors)
    if problems:
        raise explain_problems(problems, source, target, unused)
    # What a derived network goes without, the weights of its row may have.
    allowed = (*ignore, *target.left_out)
    left_over = [name for name in unused if not any(fnmatchcase(name, pattern) for pattern in allowed)]
    if left_over:
        raise explain_left_over(left_over, source, target)
    return Plan(
        fold_steps(steps, source, target, adaptations),
        unused,
        seed,
        source.digest if hash_source else "",
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


def needs_values(rules: Iterable[Rule], target: Target, adaptations: Adaptations = PLAIN) -> bool:
    """Tell whether any rule that decides over a tensor of the target needs values, or moments are enough."""
    rules = tuple(rules)
    if adaptations.classes or adaptations.head == "copy":
        return True
    first = (
        next((rule for rule in rules if rule.decides(tensor, target)), None)
        for tensor in target.tensors.values()
    )
    deciding = [rule for rule in first if rule is not None]
    names = {rule.method for rule in deciding}
    names |= {str(rule.options["otherwise"]) for rule in deciding if "otherwise" in rule.options}
    return any(find_method(name).needs == "values" for name in names)
