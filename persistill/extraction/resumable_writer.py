"""Results in one file that grows chunk by chunk, and goes on where it stopped."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from persistill.errors import UserError
from persistill.extraction.growing_files import NOTHING, GrowingFiles
from persistill.extraction.result_folder import Reached, ResultFolder

_SECONDS = 2.0  # of work that a crash may cost


class ResumableWriter(GrowingFiles):
    """Writes results into a folder, and goes on where it stopped.

    Nothing is written before the first ``append``. As a context manager it keeps at the end, whatever happened, all
    that was told to ``advance``.

    Args:
        folder: where; made if need be.
        parameters: all that the results depend on but the images, plain JSON.
        files: names of the files that grow.

    Raises:
        UserError: if the folder holds something else, or results of other parameters, or is written to by another
            process.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any], files: Sequence[str]) -> None:
        super().__init__(folder, files)
        self._saved = 0.0
        self._results = ResultFolder(folder, parameters)
        noted = self._results.noted
        if noted is not None and (self.complete or noted.position > 0):
            self._results.require_parameters()
            self._continue(noted)

    @property
    def complete(self) -> bool:
        """Whether the results are whole."""
        return self._results.complete

    def _continue(self, noted: Reached) -> None:
        self.reached = noted
        if self.complete:
            if self._results.writable:
                self._tidy()  # stopped behind the settings
            return
        for name, size in self.reached.sizes.items():
            path = self.path(name)
            if not path.exists() and (self.folder / name).exists():
                (self.folder / name).rename(path)  # stopped between giving the name and writing the settings
            if not path.exists() or path.stat().st_size < size:
                raise UserError(f"{path} is missing or cut short. Remove the folder {self.folder} and begin again.")

    def open(self) -> None:
        """Open the files as they were reached; the folder is made if need be."""
        self._results.make()
        self._save()
        super().open()

    def advance(
        self,
        position: int,
        rows: int,
        mark: str,
        skipped: Sequence[list[str]] = (),
        tally: Mapping[str, int] = NOTHING,
    ) -> None:
        """As in ``GrowingFiles``; it is safe from a crash after two seconds at most."""
        super().advance(position, rows, mark, skipped, tally)
        if time.monotonic() - self._saved > _SECONDS:
            self._save()

    def finish(self, keep: Sequence[str], more: Mapping[str, Any]) -> None:
        """Write ``settings.json``: from here on the results are whole.

        Args:
            keep: the growing files that are results, and get their names; the others are removed.
            more: what the settings tell beside parameters and progress.
        """
        for name in keep:
            self.path(name).replace(self.folder / name)
        self._results.finish(self.reached, more)
        self._tidy()

    def _tidy(self) -> None:
        for name in self.reached.sizes:
            self.path(name).unlink(missing_ok=True)
        self._results.tidy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._results.close()

    def close(self) -> None:
        """Save how far the results are, and close the files: whoever reads them now finds them whole."""
        if not self._files:
            return
        try:
            self._save()
        finally:
            super().close()

    def _save(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        self._results.note(self.reached)
        self._saved = time.monotonic()
