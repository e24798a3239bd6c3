"""The plan of `persistill distill` as it is printed: what goes in, and what each step will cost."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from persistill.cli.console import console
from persistill.cli.images_table import images_table
from persistill.cli.run_recipe import cells
from persistill.config import Model, Recipe
from persistill.utils.registry import named

if TYPE_CHECKING:
    from persistill.data import Splits
    from persistill.pipeline import Pipeline
    from persistill.pipeline.cost_estimate import Cost, Estimate


def try_teacher(recipe: Recipe, splits: "Splits", pipeline: "Pipeline") -> None:
    """Print on how many images a teacher with weights of its own is right."""
    from persistill import autoconfig  # noqa: PLC0415

    trial = autoconfig.try_teacher(recipe, splits, pipeline.normalization, pipeline.device)
    share = trial.right / trial.asked
    console.print(f"- The teacher is right on {share:.1%} of {trial.asked} validation images.")
    if not trial.better_than_chance:
        console.print(
            Text.assemble(
                (f"  Chance could do as well ({trial.chance:.1%} is to be expected of it).", "bold"),
                " Are the weights for these classes in this order (class folders are sorted by name), and for images "
                "normalized like this?",
            )
        )


def overview(recipe: Recipe, splits: "Splits") -> Table:
    """Images, networks and training of a recipe that ``distill`` made."""
    from persistill import models  # noqa: PLC0415

    channels, height, width = splits.train.shape

    def parameters(name: str) -> int:
        network = models.build(name, channels, len(splits.classes), (height, width))
        return sum(parameter.numel() for parameter in network.parameters())

    teacher = recipe.teachers[next(iter(recipe.teachers))]
    large, small = parameters(teacher.model.name), parameters(recipe.student.name)
    table = images_table(splits)
    table.add_row(
        "Teacher",
        f"{teacher.model.name}, {large:,} parameters, "
        + (f"weights from {teacher.weights}" if teacher.weights else f"to be trained{_from(teacher.model)}"),
    )
    table.add_row(
        "Student", f"{recipe.student.name}, {small:,} parameters, {_times(large, small)}{_from(recipe.student)}"
    )
    first, *others = recipe.arms
    seeds = ", ".join(map(str, recipe.seeds))
    table.add_row("Students", f"{first}, and with {', '.join(others)}; seed{'s' * (len(recipe.seeds) > 1)} {seeds}")
    train = recipe.train
    augment = f", {' and '.join(map(named, train.augment))}" if train.augment else ", images as they are"
    epochs = f"{train.epochs} epoch{'s' * (train.epochs > 1)}"
    table.add_row(
        "Training",
        f"{epochs} in batches of {train.batch_size}, {named(train.optimizer)}, {named(train.schedule)}, peak rate "
        f"{train.lr:g}{augment}",
    )
    return table


def _from(model: Model) -> str:
    """From what the training of a network starts, if that is worth a word."""
    from persistill import models  # noqa: PLC0415

    if model.initial is None:
        return ""
    published = model.initial == models.PRETRAINED
    return f", from {models.find_pretrained(model.name).name if published else model.initial}"


def _times(large: int, small: int) -> str:
    if large == small:
        return "as large as the teacher"
    return f"{large / small:.1f} times smaller" if large > small else "larger than the teacher"


def cost_table(pipeline: "Pipeline", found: "Estimate") -> Table:
    """The stages, those of one kind together where a reader thinks of them together."""
    recipe, graph = pipeline.recipe, pipeline.graph
    costs = {cost.stage.key: cost for cost in found.costs}
    table = Table("What", box=None, header_style="bold")
    for title in ("Steps", "Time", "Disk"):
        table.add_column(title, justify="right")

    def add(what: str, some: "list[Cost]") -> None:
        table.add_row(what, *cells(some))

    for view in graph.views.values():
        add("persistence images of all images", [costs[view.key]])
    for name, teacher in graph.teachers.items():
        verb = "taken over" if teacher.settings.weights else "trained"
        seen = " on persistence images" if teacher.view.stored else ""
        add(f"{name} teacher {teacher.settings.model.name}, {verb}{seen}", [costs[teacher.key]])
    for name, features in graph.features.items():
        add(f"{name} teacher's answers, stored", [costs[features.key]])
    for preparation in {stage.key: stage for stage in graph.preparations.values()}.values():
        add(f"preparation {preparation.name}", [costs[preparation.key]])
    for arm in recipe.arms:
        seeds = f", {len(recipe.seeds)} seeds" if len(recipe.seeds) > 1 else ""
        add(f"student {arm}{seeds}", [costs[graph.students[arm, seed].key] for seed in recipe.seeds])
    if graph.quantized is not None:
        add("exported student, trained on for int8", [costs[graph.quantized.key]])
    evaluations = [costs[stage.key] for stage in graph.evaluations.values()]
    add(f"evaluation of {len(evaluations)} networks", evaluations)
    ends = {stage.key for stage in (graph.exported, *graph.costs.values(), graph.comparison)}
    add("export, cost to run, report", [costs[key] for key in ends])
    return table
