"""Run folders below a folder of this machine, or below a URL of any kind that fsspec knows."""

from persistill.storage.opened import all_files, local_copy, open_runs, small_files
from persistill.storage.runs import Runs
from persistill.storage.url import check_out, is_url

__all__ = ["Runs", "all_files", "check_out", "is_url", "local_copy", "open_runs", "small_files"]
