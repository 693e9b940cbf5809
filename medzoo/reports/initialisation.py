"""The section of where a run's first weights came from: its plan, summed up by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from medzoo.errors import MedzooError
from medzoo.reports.blocks import Facts, Section, Table, Text, say_why
from medzoo.reports.subject import Subject
from medzoo.reports.wording import count_noun, format_share, list_names
from medzoo.transplant.record import PlanRecord, read_plan
from medzoo.transplant.steps import Step

#: Stages beyond this many are left out, and counted: no network of the catalogue has as many.
MOST_STAGES = 100

_NO_STAGE = "(no stage)"


def make_plan_summary(subject: Subject) -> Section:
    """Make the section of the plan: a row for each stage with its tensors, values and the share from the source."""
    key, title = "plan", "Initial weights by stage"
    if not subject.is_run:
        return say_why(key, title, "a table of predictions does not say how its network was made")
    try:
        record = read_plan(subject.path / "plan.json")
    except MedzooError as error:
        return say_why(key, title, str(error))
    plan = record.plan
    groups = group_by_stage(record)
    facts = [
        ("Source", plan.origin or "none"),
        ("Network", plan.model),
        ("Values from the source", f"{100 * plan.coverage:.1f} %"),
        ("Seed", str(plan.seed)),
    ]
    if plan.unused:
        facts.append(("Tensors of the source not used", f"{len(plan.unused):,}: {list_names(plan.unused)}"))
    rows = tuple(_summarise(stage, steps) for stage, steps in list(groups.items())[:MOST_STAGES])
    notes = ["Bottom-up, as images pass through the network."]
    if len(groups) > MOST_STAGES:
        notes.append(f"{count_noun(len(groups) - MOST_STAGES, 'more stage')} are left out.")
    table = Table(
        "What was done to each stage before training",
        ("Stage", "Tensors", "Values", "From the source", "Methods"),
        rows,
        numbers=frozenset({1, 2, 3}),
        notes=tuple(notes),
    )
    told = (
        ()
        if any(stage != _NO_STAGE for stage in groups)
        else (Text("The plan names no stages.", is_note=True),)
    )
    return Section(key, title, (Facts(tuple(facts)), table, *told))


def group_by_stage(record: PlanRecord) -> Mapping[str, list[Step]]:
    """Group a plan's steps by stage, bottom-up.

    Plans of earlier releases name no stages; then the catalogue says which stage holds a layer, without building it.
    """
    groups: dict[str, list[Step]] = {}
    stages = () if any(step.stage for step in record.plan.steps) else _find_stages(record.plan.model)
    for step in record.plan.steps:
        layer = step.target.name.rpartition("/")[0]
        name = step.stage or next((name for name, holds in stages if holds(layer)), _NO_STAGE)
        groups.setdefault(name, []).append(step)
    return groups


def _find_stages(model: str) -> tuple[tuple[str, Callable[[str], bool]], ...]:
    """Give the stages of a network of the catalogue by name, each with what tells its layers; none for others."""
    from medzoo.models.catalog import find_model

    try:
        return tuple((stage.name, stage.holds) for stage in find_model(model).stages)
    except MedzooError:
        return ()


def _summarise(stage: str, steps: list[Step]) -> tuple[str, ...]:
    """Sum up the steps of one stage."""
    values = sum(step.target.size for step in steps)
    covered = sum(step.covered for step in steps)
    methods: dict[str, int] = {}
    for step in steps:
        methods[step.method] = methods.get(step.method, 0) + 1
    treated = ", ".join(f"{count} {method}" for method, count in sorted(methods.items()))
    return stage, f"{len(steps):,}", f"{values:,}", format_share(covered, values), treated
