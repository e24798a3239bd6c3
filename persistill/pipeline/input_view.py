"""What a network sees of the images, and where it lies."""

from collections.abc import Iterable
from dataclasses import dataclass

from persistill.data import OpenView, open_view
from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage


@dataclass(frozen=True)
class InputView:
    """What a network sees of the images.

    Attributes:
        name: in batches.
        stage: that stores it; None for a view that is not stored.
    """

    name: str
    stage: Stage | None = None

    @property
    def stored(self) -> bool:
        """Whether it is computed beforehand, from the images as they are."""
        return self.stage is not None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that a network depends on which sees it."""
        return () if self.stage is None else (self.stage,)

    @property
    def key(self) -> str:
        """What tells it from others, for the keys of networks that see it."""
        return self.name if self.stage is None else self.stage.key


def open_views(context: Context, views: Iterable[InputView]) -> dict[str, OpenView]:
    """Name -> what was stored of it, of those that are stored; their stages must be complete."""
    opened = {}
    for view in views:
        if view.stage is not None:
            folder = view.stage.open(context)
            opened[view.name] = open_view(folder.path, folder.result(), context.data.splits)
    return opened
