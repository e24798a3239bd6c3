"""A view of all images, computed once and stored."""

from typing import Any, ClassVar

from persistill.data import make_view
from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage
from persistill.run_folder import Kind, RunFolder


class ViewStage(Stage):
    """Computes a view of all images and stores it, with what normalizes it.

    Args:
        context: of the recipe.
        name: in ``Recipe.views``.
    """

    kind: ClassVar[Kind] = "view"

    def __init__(self, context: Context, name: str) -> None:
        self.view = context.data.views[name]
        super().__init__(name, {"data": context.data.splits.fingerprint, "view": self.view.to_json()})

    @property
    def shared(self) -> bool:
        """Images are."""
        return True

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Compute the view of all images."""
        return make_view(self.view, context.data.splits, folder.path, context.progress, context.ranks)
