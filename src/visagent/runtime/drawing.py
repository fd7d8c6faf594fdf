"""A run's pictures, films and files: saved in its folder and as artifacts; it never fails for want of a picture."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.errors import UserError, machine_message
from visagent.pictures import plain
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from visagent.runtime.mlflow_logger import MLflowTracker

log = logging.getLogger(__name__)


def draw(module: pl.LightningModule, folder: RunFolder, record: Record, tracker: MLflowTracker | None) -> None:
    """Save the learning curves and what the module shows in the run folder and as artifacts; see `save_shown`."""
    from visagent.runtime.report import learning_curves

    save_shown(module, folder.path, tracker)
    curves = _drawn("learning_curves", lambda: learning_curves(record))
    if curves is not None:
        _keep("learning_curves", partial(save_figure, curves), folder.figures / "learning_curves.png", tracker)


def save_shown(module: pl.LightningModule, where: Path, tracker: MLflowTracker | None = None) -> None:
    """Save the module's own `figures()`, `videos()` and `files()` in folders of these kinds.

    The numbers are there: nothing fails for want of a picture.

    Args:
        module: after its test.
        where: the folder that these folders are in.
        tracker: gets them as artifacts.
    """
    for name, figure in dict(_drawn("the method's pictures", getattr(module, "figures", dict)) or {}).items():
        _keep(name, partial(save_figure, figure), where / "figures" / f"{name}.png", tracker)
    for name, film in dict(_drawn("the method's films", getattr(module, "videos", dict)) or {}).items():
        _keep(name, film.make, where / "videos" / f"{name}.mp4", tracker)
    for name, save in dict(getattr(module, "files", dict)()).items():
        path = where / "predictions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path)
        if tracker is not None and path.suffix == ".csv":
            tracker.save_artifact(path, path.parent.name)


def _keep(name: str, save: Callable[[Path], object], path: Path, tracker: MLflowTracker | None) -> None:
    """Save a picture or a film, and as an artifact in a folder named as its own, unless that fails."""

    def saved() -> bool:
        save(path)
        return True

    if _drawn(name, saved) and tracker is not None:
        tracker.save_artifact(path, path.parent.name)


def save_figure(figure: Any, path: Path) -> None:
    """Write a picture, or none where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        plain(figure).savefig(path, dpi=110, bbox_inches="tight")
    except BaseException:
        path.unlink(missing_ok=True)  # a part of a picture
        raise


def _drawn(name: str, picture: Callable[[], Any]) -> Any:
    """What `picture` returns, or None and a warning where it fails."""
    try:
        return picture()
    except Exception as error:  # noqa: BLE001 (of the method, of matplotlib, of the encoder, of the disk)
        said = error if isinstance(error, UserError) else machine_message(error) or f"{type(error).__name__}: {error}"
        log.warning("no picture of %s: %s", name, said)
        return None
