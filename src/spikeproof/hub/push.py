"""``push``: what others need of a finished run, onto the hub or into a folder; nothing of it half-written."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from spikeproof.disk import user_path, write_atomically
from spikeproof.errors import SpikeproofError, said_by_the_system
from spikeproof.hub.card import model_card
from spikeproof.hub.private_words import shared_json, without_paths
from spikeproof.models import load_model
from spikeproof.models.hub import HUB_PREFIX, WEIGHTS_FILE, parse_repository
from spikeproof.report import Run, audits_in, read_outcomes, read_run
from spikeproof.runs import RunFolder

_CARD_FILE = "README.md"
# All that is ever pushed. Pictures are not: they are images of the data set, whose licence may not allow it.
_FILES = (_CARD_FILE, WEIGHTS_FILE, "config.json", "metrics.jsonl", "audit.json", "outcomes.parquet")


def push(
    run: str | Path,
    target: str | Path,
    *,
    audit: str | Path | None = None,
    license: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> str:
    """Share a finished run: weights, config, metrics, the audit where there is one, and a model card.

    ``hub:OWNER/NAME`` is a model repository, made if need be; all files come in one commit, which also removes the
    audit of an earlier push if this one has none. Anything else is a folder, moved into place when it is complete.
    Commands are left out of what is pushed, and of absolute paths all but the last part.

    Args:
        run: the run folder.
        target: ``hub:OWNER/NAME``, or a folder that is new, empty or was pushed to before.
        audit: the folder of the audit to push, where the run has several or it lies elsewhere.
        license: of the weights, as the hub calls licences (mit, cc-by-4.0, ...); none is named by default.
        private: make the repository private; refused where it is public already.
        message: of the commit; names the run by default.

    Returns:
        What ``load_model`` takes to load it.

    Raises:
        SpikeproofError: an unfinished or damaged run, no audit where one was said to be or one of another run, a
            target that cannot be used, or a hub that refuses or cannot be reached.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model, load_model
        >>> from spikeproof.train import TrainConfig, train
        >>> data = load_data("digits", validation=100, train_limit=128)
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> with TemporaryDirectory() as folder:
        ...     config = TrainConfig(epochs=1, augmentation=None, device="cpu")
        ...     ran = train(model, data, config=config, out=f"{folder}/run", show=False)
        ...     loaded = load_model(push(ran.folder, f"{folder}/shared"))
        >>> loaded.description.name
        'conv'
    """
    on_hub = str(target).startswith(HUB_PREFIX)
    here = str(target).removeprefix(HUB_PREFIX)
    if on_hub and here and user_path(here).is_dir():
        # Whoever loads `target` here would get the folder.
        raise SpikeproofError(f"{target} is a folder that exists here; leave out {HUB_PREFIX} to push into a folder.")
    told, audited = _read(Path(run), None if audit is None else Path(audit))
    # Where a folder lies here is of no use elsewhere.
    card = model_card(told, source=str(target) if on_hub else f"{HUB_PREFIX}FOLDER", license=license)

    def stage(into: Path) -> None:
        _stage(told.folder, audited, without_paths(card), into)

    if on_hub:
        _to_hub(str(target), stage, private=private, message=message or f"Push {told.name}")
        return str(target)
    if private:
        raise SpikeproofError(
            f"{target} is a folder, and only a repository of the hub (hub:OWNER/NAME) can be private."
        )
    return f"{HUB_PREFIX}{_to_folder(Path(target), stage)}"


def _read(folder: Path, audited: Path | None) -> tuple[Run, Path | None]:
    """The run with its audit, and the folder that the audit lies in, if there is one."""
    run_folder = RunFolder(folder)
    config = run_folder.config()
    run_folder.refuse_own_network()
    if not run_folder.finished:
        raise SpikeproofError(
            f"The run in {folder} is not finished, so there are no weights to push; continue it with "
            "`spikeproof train ... --resume`."
        )
    load_model(run_folder.weights)  # damaged ones say so here, and not where they are loaded
    if audited is None:
        audits = audits_in(folder)
        if len(audits) > 1:
            named = ", ".join(each.name for each in audits[:3])
            raise SpikeproofError(
                f"The run in {folder} has {len(audits)} audits ({named}, ...), and one is pushed; give its folder by "
                "--audit."
            )
        audited = audits[0] if audits else None
    elif not (audited / "audit.json").is_file():
        raise SpikeproofError(f"{audited} has no audit.json; give the folder of an audit of {folder}, or none.")
    elif RunFolder(audited).exists and RunFolder(audited).config() | {"command": ""} != config | {"command": ""}:
        raise SpikeproofError(
            f"The audit in {audited} is of another run than {folder}: its config.json is not that run's; give the "
            "folder of an audit of this run, or none."
        )
    return read_run(folder, audited), audited


def _stage(run: Path, audited: Path | None, card: str, into: Path) -> None:
    """Write all files into an empty folder; only what lies in the run itself, and is what it should be."""
    texts = {_CARD_FILE: card, "config.json": shared_json(_own(run / "config.json", run))}
    copies = [_own(run / WEIGHTS_FILE, run), _own(run / "metrics.jsonl", run)]
    if audited is not None:
        texts["audit.json"] = shared_json(_own(audited / "audit.json", audited))
        if (audited / "outcomes.parquet").exists():
            outcomes = _own(audited / "outcomes.parquet", audited)
            read_outcomes(outcomes)
            copies.append(outcomes)
    for name, text in texts.items():
        write_atomically(into / name, lambda path, text=text: path.write_text(text, "utf-8", "replace"))  # type: ignore[misc]
    for held in copies:
        write_atomically(into / held.name, lambda path, held=held: shutil.copyfile(held, path))  # type: ignore[misc]


def _own(path: Path, folder: Path) -> Path:
    """The same path, if it is a file of this folder: a link may lead to anything on this machine."""
    if path.is_symlink() or not path.is_file() or path.resolve().parent != folder.resolve():
        raise SpikeproofError(
            f"{path} is no file of its own but a link or something else, which is not pushed; put the file in its "
            "place."
        )
    return path


def _to_folder(target: Path, stage: Callable[[Path], None]) -> Path:
    """Fill a folder beside ``target``, then let it take its place."""
    place = user_path(target).resolve()
    _refuse_other_content(place)
    staged, earlier = (place.with_name(f".{place.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    try:
        staged.mkdir(parents=True)
        stage(staged)
        if not place.exists():
            staged.rename(place)
            return place
        place.rename(earlier)
        try:
            staged.rename(place)
        except BaseException:
            earlier.rename(place)
            raise
        shutil.rmtree(earlier)
    except OSError as error:
        raise SpikeproofError(f"{target} cannot be written: {said_by_the_system(error)}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return place


def _refuse_other_content(place: Path) -> None:
    try:
        _look_into(place)
    except OSError as error:
        raise SpikeproofError(f"{place} cannot be read ({error.strerror or error}); give another folder.") from error


def _look_into(place: Path) -> None:
    if place.exists() and not place.is_dir():
        raise SpikeproofError(f"{place} is a file; give a folder to push to.")
    if Path.cwd().is_relative_to(place):
        raise SpikeproofError(f"{place} is where you are; give a folder below it, such as {place / 'shared'}.")
    held = {path.name for path in place.iterdir()} if place.exists() else set()
    card = place / _CARD_FILE
    ours = held <= set(_FILES) and card.is_file() and "\nlibrary_name: spikeproof\n" in card.read_text(errors="replace")
    if held and not ours:
        raise SpikeproofError(
            f"{place} holds other things than an earlier push of spikeproof's; give a new or an empty folder."
        )


def _to_hub(target: str, stage: Callable[[Path], None], *, private: bool, message: str) -> None:
    repository = parse_repository(target)
    if repository.revision is not None:
        raise SpikeproofError(f"{target} names a revision, and a push makes a new one; push to hub:{repository.name}.")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    name = repository.name
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # The client asks whether a parquet file belongs to a model: the outcomes do.
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
        staged = Path(folder)
        try:
            stage(staged)
        except OSError as error:
            raise SpikeproofError(
                f"The files could not be gathered in {staged}: {said_by_the_system(error)}, or look whether the run "
                "can be read."
            ) from error
        try:
            hub = HfApi()
            hub.create_repo(name, private=private or None, exist_ok=True)
            if private and not hub.model_info(name).private:
                raise SpikeproofError(f"{name} is public already; make it private on the hub, or push without private.")
            stale = [held for held in hub.list_repo_files(name) if held in _FILES and not (staged / held).exists()]
            # Not upload_folder: it may make several commits of one folder.
            additions = [CommitOperationAdd(path.name, path) for path in sorted(staged.iterdir())]
            deletions = [CommitOperationDelete(held) for held in stale]
            hub.create_commit(name, [*additions, *deletions], commit_message=without_paths(message))
        except SpikeproofError:
            raise
        # The client's exceptions differ from version to version and with the HTTP library below it.
        except Exception as error:
            raise SpikeproofError(
                f"The run could not be pushed to {name} ({_reason(error)}): go online, log in with `hf auth login`, "
                "and push to a name of your own or of your organisation."
            ) from error


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return type(error).__name__ if status is None else f"{type(error).__name__}, HTTP {status}"
