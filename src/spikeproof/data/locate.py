"""Where the parquet files of a public data set are: a folder of the user's, or the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from spikeproof.data.public_sets import PublicSet
from spikeproof.disk import user_path
from spikeproof.errors import SpikeproofError

DATA_DIR_VARIABLE = "SPIKEPROOF_DATA_DIR"


def locate(public_set: PublicSet, data_dir: str | Path | None) -> tuple[Path, Path]:
    """Find (or download) the training and the test file of ``public_set``.

    Args:
        public_set: the data set.
        data_dir: the folder to look in. None looks in the folder that ``SPIKEPROOF_DATA_DIR`` names and, where this is
            not set, on the hub, whose own cache keeps what was downloaded.

    Returns:
        (train file, test file), both existing.

    Raises:
        SpikeproofError: naming the path at which no file was found, or when the hub cannot be reached.
    """
    files = _local_files(public_set, data_dir)
    if files is None:
        return _download(public_set, "train"), _download(public_set, public_set.test_split)
    for path in files:
        if not path.is_file():
            raise SpikeproofError(
                f"there is no file {path}, which {public_set.name} needs: put it there, "
                f"or give another folder as --data-dir or {DATA_DIR_VARIABLE}."
            )
    return files


def whereabouts(public_set: PublicSet, data_dir: str | Path | None) -> str:
    """Whether :func:`locate` would find the files of ``public_set``, without a download.

    Args:
        public_set, data_dir: as for :func:`locate`.

    Returns:
        A sentence: at hand, missing (with the path), or from the hub.

    Example:
        >>> from spikeproof.data.public_sets import PUBLIC_SETS
        >>> whereabouts(PUBLIC_SETS["cifar10"], "no/such/folder")
        'cifar10 is missing: there is no file no/such/folder/cifar10/train.parquet.'
    """
    files = _local_files(public_set, data_dir)
    if files is None:
        return f"{public_set.name} comes from the Hugging Face hub, if it is not in the hub's cache already."
    missing = [path for path in files if not path.is_file()]
    return (
        f"{public_set.name} is missing: there is no file {missing[0]}." if missing else f"{public_set.name} is at hand."
    )


def _local_files(public_set: PublicSet, data_dir: str | Path | None) -> tuple[Path, Path] | None:
    """The train and test file in the folder that was given or that the environment names; None without one."""
    # An empty variable is what `make` exports when it finds no folder, so it counts as unset.
    folder = data_dir if data_dir is not None else os.environ.get(DATA_DIR_VARIABLE)
    if not folder:
        return None
    of = user_path(folder) / public_set.name
    return of / "train.parquet", of / f"{public_set.test_split}.parquet"


def _download(public_set: PublicSet, split: str) -> Path:
    pattern = f"*/{split}-*.parquet"
    try:
        from huggingface_hub import snapshot_download

        # Not list_repo_files + hf_hub_download: listing needs the network even when the file is in the cache.
        snapshot = snapshot_download(public_set.repo, repo_type="dataset", allow_patterns=pattern)
        (file,) = Path(snapshot).glob(pattern)  # a split in several files cannot be read here
        return file
    # The hub client's exceptions differ from version to version and with the HTTP library below it. Whatever went
    # wrong, also a cache without the file (ValueError), the remedy is the same.
    except Exception as error:
        raise SpikeproofError(
            f"the {split} split of {public_set.name} could not be downloaded from the Hugging Face hub "
            f"({public_set.repo}, {type(error).__name__}): go online, or pass --data-dir or set {DATA_DIR_VARIABLE} "
            f"to a folder that holds {public_set.name}/train.parquet and "
            f"{public_set.name}/{public_set.test_split}.parquet."
        ) from error
