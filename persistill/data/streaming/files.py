"""Images without classes, of any number and any sizes, read a few at a time: which reader a source needs."""

from pathlib import Path

from persistill.data.sources.shards import shard_files
from persistill.data.sources.tar_shards import TAR, shard_pattern
from persistill.data.streaming.arrays import ARRAY_SUFFIXES, open_array_stream
from persistill.data.streaming.base import ImageStream
from persistill.data.streaming.image_files import FileStream
from persistill.data.streaming.parquet import ParquetStream
from persistill.data.streaming.tar import TarStream
from persistill.errors import UserError
from persistill.utils.image_files import image_names
from persistill.utils.image_reader import SUFFIXES
from persistill.utils.output_folder import require_no_url


def open_stream(source: Path, field: str | None = None) -> ImageStream:
    """Open a source of images.

    Args:
        source: a folder of images, searched at any depth and sorted by name; an image; a Parquet file or a folder
            of them (in it or just below) in the Hugging Face image layout; a tar file, several by a range
            (``train-{000..009}.tar``) or a folder of them; an .npy or .npz file.
        field: the Parquet column or the .npz array that holds images; None if only one can be it.

    Raises:
        UserError: if it is a URL, or there is no such source, it holds no images, or it is damaged.
    """
    require_no_url(source, "SOURCE")
    source = source.expanduser()
    suffix = source.suffix.lower()
    if source.is_dir():
        files = shard_files(source, ".parquet")
        if files:
            return ParquetStream(source, files, field)
        if names := image_names(source):
            stream: ImageStream = FileStream(source, names)
        elif shards := shard_files(source, TAR):
            stream = TarStream(source, shards)
        else:
            raise UserError(
                f"{source} holds no images ({', '.join(sorted(SUFFIXES))}), at any depth, and no Parquet or tar files."
            )
    elif (tar_files := shard_pattern(str(source))) is not None:
        stream = TarStream(*tar_files)
    elif not source.exists():
        raise UserError(f"there is no file or folder {source}.")
    elif suffix == ".parquet":
        return ParquetStream(source.parent, [source], field)
    elif suffix in ARRAY_SUFFIXES:
        return open_array_stream(source, field)
    elif suffix in SUFFIXES:
        stream = FileStream(source.parent, [source.name])
    else:
        raise UserError(
            f"{source} is no source of images: give a folder, or a file ending in "
            f"{', '.join(sorted({'.parquet', TAR, *ARRAY_SUFFIXES, *SUFFIXES}))}."
        )
    if field is not None:
        raise UserError(f"--field {field} names a column or an array, and {source} has none. Leave it out.")
    return stream
