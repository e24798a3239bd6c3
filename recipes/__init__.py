"""Recipes are files to be copied and run, not modules to be imported."""

raise ModuleNotFoundError(
    "recipes are not importable: read one with `persistill cp NAME`, or run it with `persistill run NAME`."
)
