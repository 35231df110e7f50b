"""Weights from elsewhere: a model repository of the Hugging Face hub, or a folder of the same layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from spikeproof.disk import user_path
from spikeproof.errors import SpikeproofError

HUB_PREFIX = "hub:"
WEIGHTS_FILE = "model.safetensors"


@dataclasses.dataclass(frozen=True)
class Repository:
    """A model repository of the hub, at a branch, tag or commit; None is the newest."""

    name: str
    revision: str | None


def weights_at(source: str | Path) -> Path:
    """The file of weights that ``source`` names.

    Args:
        source: a path, which comes back as it is; ``hub:PATH`` for model.safetensors in an existing folder; or
            ``hub:OWNER/NAME[@REVISION]`` for that file of a model repository, downloaded unless the hub client's cache
            has it. As in the client's own ``from_pretrained``, a folder that exists goes before a repository.

    Raises:
        SpikeproofError: a folder without weights, an impossible name, or a file that cannot be downloaded.

    Example:
        >>> weights_at("runs/mine/model.safetensors").name
        'model.safetensors'
    """
    text = str(source)
    if not text.startswith(HUB_PREFIX):
        return Path(source)
    named = text.removeprefix(HUB_PREFIX)
    folder = user_path(named)
    if named and folder.is_dir():
        if not (folder / WEIGHTS_FILE).is_file():
            raise SpikeproofError(
                f"The folder {folder} has no {WEIGHTS_FILE}; give a folder that `spikeproof push` wrote, or a finished "
                "run."
            )
        return folder / WEIGHTS_FILE
    return _download(parse_repository(text))


def parse_repository(source: str) -> Repository:
    """The repository that ``hub:OWNER/NAME[@REVISION]`` names.

    Args:
        source: the text, with its "hub:".

    Raises:
        SpikeproofError: it does not have that form, or the hub allows no such name.

    Example:
        >>> parse_repository("hub:someone/robust-vgg11@v2")
        Repository(name='someone/robust-vgg11', revision='v2')
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name, at, revision = source.removeprefix(HUB_PREFIX).partition("@")
    try:
        if name.count("/") != 1 or (at and not revision):
            raise HFValidationError
        validate_repo_id(name)
    except HFValidationError:
        raise SpikeproofError(
            f"{source} is neither a folder that exists nor a repository of the hub; write hub:OWNER/NAME, "
            "hub:OWNER/NAME@REVISION or hub:PATH."
        ) from None
    return Repository(name, revision or None)


def _download(repository: Repository) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, revision = repository.name, repository.revision
    try:
        return Path(hf_hub_download(name, WEIGHTS_FILE, revision=revision))
    except RepositoryNotFoundError as error:
        raise SpikeproofError(
            f"The hub has no model {name} that you may see; check the name, or log in with `hf auth login` if it is "
            "private or gated."
        ) from error
    except RevisionNotFoundError as error:
        raise SpikeproofError(
            f"The model {name} of the hub has no revision {revision}; give one that it has."
        ) from error
    except LocalEntryNotFoundError as error:  # before the next: it is one of them
        raise SpikeproofError(
            f"The weights of {name} are not in the cache and the hub cannot be reached ({type(error).__name__}): go "
            "online, or give a folder that holds them as hub:PATH."
        ) from error
    except EntryNotFoundError as error:
        raise SpikeproofError(
            f"The model {name} of the hub has no {WEIGHTS_FILE}; give one that `spikeproof push` made."
        ) from error
    # The client's other exceptions differ from version to version and with the HTTP library below it.
    except Exception as error:
        raise SpikeproofError(
            f"The weights of {name} could not be downloaded from the hub ({type(error).__name__}): go online and try "
            "again, or give a folder that holds them as hub:PATH."
        ) from error
