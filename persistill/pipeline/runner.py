"""A recipe, run: its stages are walked through, and the report is written."""

from pathlib import Path

import torch

from persistill import report
from persistill.config import Recipe
from persistill.data import Splits
from persistill.errors import UserError, unknown
from persistill.pipeline.context import Context
from persistill.pipeline.data_module import DataModule, Normalization
from persistill.pipeline.executors import local
from persistill.pipeline.executors.base import Executor
from persistill.pipeline.executors.walk import Walk
from persistill.pipeline.graph import StageGraph
from persistill.pipeline.shape_check import check_shapes
from persistill.pipeline.stage import Stage
from persistill.pipeline.thread_choice import chosen_threads
from persistill.pipeline.training_check import check_trainings
from persistill.pipeline.validate import problems
from persistill.ranks import Ranks
from persistill.run_folder import RunFolder
from persistill.storage import Runs, open_runs
from persistill.training import make_fabric
from persistill.utils.memory import is_out_of_memory
from persistill.utils.progress import Progress, Silent


class Pipeline:
    """A recipe on its way through the stages. A stage whose run folder is complete is passed over.

    Args:
        recipe: what to do.
        out: where the run folders lie: a folder or a URL.
        device: "auto", "cpu", "cuda", "cuda:0" or "mps".
        progress: told of everything that takes time.
        command: the command line that repeats this, for the report.
        splits: the recipe's images, if they were read already or others shall stand in for them.
        auto_batch: take batches of a training in parts where memory runs out.
        ranks: the processes that train networks together; None for this one alone.

    Attributes:
        recipe: what to do.
        out: the folder of this machine that holds the run folders.
        context: what every stage is worked with.
        graph: the stages.

    Raises:
        UserError: if the recipe asks for what does not exist or does not fit together. Found before any training.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path | str | Runs,
        *,
        device: str = "auto",
        progress: Progress | None = None,
        command: str = "",
        splits: Splits | None = None,
        auto_batch: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        runs = out if isinstance(out, Runs) else open_runs(out)
        runs.require()
        ranks = ranks or Ranks()
        found = problems(recipe, ranks.size)
        if found:
            raise UserError("\n".join(found))
        self.recipe, self.out = recipe, runs.path
        progress = progress or Silent()
        data = DataModule(recipe, make_fabric(device, recipe.train).device, progress, splits)
        self.context = Context(recipe, data, runs, progress, command, auto_batch, ranks)
        self.graph = StageGraph(self.context)

    @property
    def device(self) -> torch.device:
        """Where networks and batches are."""
        return self.context.device

    @property
    def splits(self) -> Splits:
        """The images, on the device where they are small."""
        return self.context.data.splits

    @property
    def normalization(self) -> Normalization:
        """Channel means and standard deviations of the images: stated by the recipe or measured on training data."""
        return self.context.data.normalization

    def stages(self) -> list[Stage]:
        """All stages in the order in which they run."""
        return self.graph.stages()

    def probe(self) -> None:
        """Send two random images through every arm, untrained: what does not fit shows now, not after the teachers.

        Raises:
            UserError: if networks, views and methods do not fit together, or trainings need more than the images give.
        """
        try:
            check_shapes(self.context)
            check_trainings(self.context)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            height, width = self.splits.train.shape[1:]
            raise UserError(
                f"memory does not suffice for two images of {height}x{width} in the networks of this recipe "
                f"({str(error).splitlines()[0]}). Bring images to a smaller data.size, or choose smaller networks."
            ) from error

    def run(self, executor: Executor | None = None) -> RunFolder:
        """Run what is not complete, and write the report.

        Args:
            executor: has stages worked at elsewhere; None for one after another in this process.

        Returns:
            The comparison's folder.

        Raises:
            UserError: if a folder was written by another recipe, or a stage finds a mistake that its user can mend.
        """
        if self.context.data.measures_normalization:  # which takes every image: of a cache it is read, and not decoded
            self.context.data.keep_resized(self.out)
        self.probe()
        self.context.data.keep_resized(self.out)
        with chosen_threads(self.context, self.graph, workers=1 if executor is None else executor.workers):
            self._work([self.graph.comparison], executor)
            folder = self.graph.comparison.open(self.context)
            try:
                self._work([self.graph.exported], executor)
            except Exception:
                self._write_report(folder)  # what was measured is told, whatever becomes of the files
                raise
        self._write_report(folder)
        return folder

    def _work(self, stages: list[Stage], executor: Executor | None) -> None:
        if executor is None:
            local.run(stages, self.context)
            return
        walk = Walk()
        walk.add(stages, self.context)
        executor.run(walk)
        walk.tell_of_others(self.context)

    def _write_report(self, folder: RunFolder) -> None:
        self.context.progress.start("report", 1)
        report.write(folder.path)
        report.write_card_of_exported(folder.path)
        for written in (f"{folder.path.name}/report.html", f"{self.graph.exported.folder_name}/README.md"):
            self.context.runs.put(written)
        self.context.progress.finish()

    def stage(self, folder_name: str) -> Stage:
        """The stage that writes a run folder.

        Raises:
            UserError: if the recipe has no such stage.
        """
        stages = {stage.folder_name: stage for stage in self.stages()}
        if folder_name not in stages:
            raise unknown("stage of this recipe:", folder_name, stages)
        return stages[folder_name]

    def run_stage(self, folder_name: str) -> RunFolder:
        """Run one stage; the stages that it depends on must be complete.

        Recipe, place and this name are all that another process needs to do a part of the work.

        Args:
            folder_name: of the stage.

        Raises:
            UserError: if the recipe has no such stage.
        """
        self.context.data.keep_resized(self.out)
        stage = self.stage(folder_name)
        with chosen_threads(self.context, self.graph):
            return stage.run(self.context)
