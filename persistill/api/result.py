"""What a comparison found: its table, its verdict, its report and the exported student, from its run folder alone."""

import html
import os
from functools import cached_property
from pathlib import Path

from persistill import report
from persistill.errors import UserError, unknown
from persistill.run_folder import RunFolder
from persistill.storage import local_copy


class Result:
    """A finished comparison; in a console and in a notebook it shows its table and what that means.

    It reads run folders and computes nothing, so ``Result("runs/comparison-...")`` opens an old one, and
    ``Result("s3://bucket/runs/comparison-...")`` one that lies at a URL.

    Attributes:
        folder: the comparison's run folder, on this machine.
        comparison: all figures of all networks, as the report reads them.

    Args:
        folder: as above.

    Raises:
        UserError: if the folder is no finished comparison.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = local_copy(folder)[0]
        self._stored = RunFolder.open(self.folder).result()
        self.comparison = report.read(self.folder)

    @property
    def table(self) -> report.Table:
        """Students in the order of the recipe, then teachers: accuracy, NLL, ECE, noise, parameters, time."""
        return report.overview(self.comparison)

    @cached_property
    def decision(self) -> report.Decision:
        """Which student to take and why, and what to try next where distillation did not help."""
        return report.decide(self.comparison)

    @property
    def verdict(self) -> str:
        """A sentence for each arm: whether it differs from the baseline by more than chance."""
        return "\n".join(report.verdicts(self.comparison))

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @property
    def exported(self) -> Path:
        """The folder of the exported student, which ``persistill.load`` takes."""
        return self.folder.parent / str(self._stored["export"])

    def require_exported(self) -> Path:
        """The folder of the exported student, once it was seen to be there, whole, and of the student that was chosen.

        Raises:
            UserError: if it is not so, with what to do.
        """
        again = "Run the recipe again: what is complete is not computed anew."
        if not (self.exported / "done.json").is_file():
            raise UserError(f"the exported student of this comparison is not in {self.exported}, or not whole. {again}")
        run = RunFolder.open(self.exported)
        run.verify()
        student, chosen = run.result()["student"]["run"], self._stored["choice"]["run"]
        if student != chosen:
            raise UserError(f"{self.exported} holds the student {student}, and {chosen} was chosen. {again}")
        return self.exported

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Images that were left out because they cannot be read."""
        return tuple(self._stored["unreadable"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the images: what was passed over, where classes come from, duplicates."""
        return self.comparison.notes

    def student(self, arm: str, seed: int = 0) -> Path:
        """The run folder of a student, which ``persistill.evaluate``, ``export`` and ``load`` take.

        Args:
            arm: its name in the table.
            seed: from which it was trained.

        Raises:
            UserError: if there is no such student.
        """
        runs = {(row["arm"], row["seed"]): row["run"] for row in self._stored["rows"]}
        if arm not in (arms := dict.fromkeys(name for name, _ in runs)):
            raise unknown("arm of this comparison:", arm, arms)
        if (arm, seed) not in runs:
            seeds = ", ".join(str(one) for name, one in runs if name == arm)
            raise UserError(f"there is no student {arm!r} of seed {seed!r}; its seeds are {seeds}.")
        return self.folder.parent / str(runs[arm, seed])

    def __repr__(self) -> str:
        decision = self.decision
        parts = (
            decision.sentence,
            "\n".join(decision.reasons),
            str(decision.table),
            decision.table.caption,
            str(self.table),
            self.verdict,
            "\n".join(decision.advice),
            f"Report            {self.report}\nExported student  {self.exported}",
        )
        return "\n\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        decision = self.decision
        first = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in decision.reasons)
        sentences = (decision.table.caption, *self.verdict.splitlines(), *decision.advice)
        link = os.path.relpath(self.report).replace(os.sep, "/")
        return (
            f"<p><b>{html.escape(decision.sentence)}</b></p>{first}"
            f"{decision.table._repr_html_()}{self.table._repr_html_()}"
            f"{''.join(f'<p>{html.escape(sentence)}</p>' for sentence in sentences)}"
            f'<p><a href="{html.escape(link)}" target="_blank">Report</a> · exported student: '
            f"<code>{html.escape(str(self.exported))}</code></p>"
        )
