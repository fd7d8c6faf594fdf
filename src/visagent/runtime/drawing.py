"""A run's pictures and films: saved in its folder and as artifacts, and never what a run fails for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.errors import UserError, machine_message
from visagent.pictures import plain
from visagent.runtime.record import Record, RunFolder

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from visagent.runtime.mlflow_logger import MLflowTracker

log = logging.getLogger(__name__)


def draw(module: pl.LightningModule, folder: RunFolder, record: Record, tracker: MLflowTracker | None) -> None:
    """Save the learning curves and the module's own `figures()` and `videos()` in the run folder and as artifacts.

    The numbers are there: a training does not fail for want of a picture.
    """
    from visagent.runtime.report import learning_curves

    figures = dict(_drawn("the method's pictures", getattr(module, "figures", dict)) or {})
    curves = _drawn("learning_curves", lambda: learning_curves(record))
    if curves is not None:
        figures["learning_curves"] = curves
    for name, figure in figures.items():
        path = folder.figures / f"{name}.png"
        if _drawn(name, partial(_save_figure, figure, path)) and tracker is not None:
            tracker.save_artifact(path, "figures")
    for name, film in dict(_drawn("the method's films", getattr(module, "videos", dict)) or {}).items():
        path = folder.path / "videos" / f"{name}.mp4"
        if _drawn(name, partial(_save_film, film, path)) and tracker is not None:
            tracker.save_artifact(path, "videos")


def _save_figure(figure: Any, path: Path) -> bool:
    path.parent.mkdir(exist_ok=True)
    try:
        plain(figure).savefig(path, dpi=110, bbox_inches="tight")
    except BaseException:
        path.unlink(missing_ok=True)  # a part of a picture
        raise
    return True


def _save_film(film: Any, path: Path) -> bool:
    film.make(path)
    return True


def _drawn(name: str, picture: Callable[[], Any]) -> Any:
    """What `picture` returns, or None and a warning where it fails."""
    try:
        return picture()
    except Exception as error:  # noqa: BLE001 (of the method, of matplotlib, of the encoder, of the disk)
        said = error if isinstance(error, UserError) else machine_message(error) or f"{type(error).__name__}: {error}"
        log.warning("no picture of %s: %s", name, said)
        return None
