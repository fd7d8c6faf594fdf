"""What a search has found: a page that stands alone, a table, and both in MLflow."""

from __future__ import annotations

import csv
import io
import json
import logging
import shlex
import warnings
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import optuna
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from visagent.pages import document, inline_png, relative, table
from visagent.runtime.credentials import without_credentials
from visagent.runtime.record import write_atomically
from visagent.runtime.tracking import TrackingUnavailable, ask, connect, tracking_uri
from visagent.search.study import Search, Trial
from visagent.words import counted

log = logging.getLogger(__name__)
BEST = 10
"""Runs that the page names first."""
PAGE = "index.html"


def write_report(search: Search, parent: str | None, config: DictConfig, last: bool = False) -> str:
    """Write the page, `trials.csv` and `search.json` into the search's folder; at the end hand them to MLflow.

    Args:
        search: with its ledger.
        parent: MLflow's run of the sweep; None where there is none.
        config: for where MLflow is.
        last: the search has come to its end.

    Returns:
        What to print: the best run, and where the page is.
    """
    trials = search.known()
    ranked = ranking(search, trials)
    importance = importances(search, trials)
    write_atomically(search.folder / "trials.csv", _comma_separated(search, trials))
    write_atomically(search.folder / "search.json", json.dumps(_summary(search, trials, ranked, importance)) + "\n")
    write_atomically(search.folder / PAGE, page(search, trials, ranked, importance))
    if last and parent is not None:
        _track(search, parent, config, ranked)
    states = [trial.state for trial in trials]
    numbers = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    if not ranked:
        return f"no run has a result yet ({numbers or 'none was begun'})   page  {search.folder / PAGE}"
    best = ranked[0]
    return (
        f"best of {counted(len(trials), 'run')} ({numbers}): {search.objective} {best.value:.6g} by {best.signature}, "
        f"{shlex.join(search.space.overrides(best.params))}\npage  {search.folder / PAGE}"
    )


def ranking(search: Search, trials: list[Trial]) -> list[Trial]:
    """The finished ones, the best first."""
    finished = [t for t in trials if t.state == "finished" and t.value is not None and t.value == t.value]
    return sorted(finished, key=lambda t: t.value or 0.0, reverse=search.settings.direction == "maximize")


def importances(search: Search, trials: list[Trial]) -> dict[str, float]:
    """How much of what distinguishes good runs each setting explains (PED-ANOVA, Watanabe et al. 2023), the most
    important first; empty where there are too few runs to say.
    """
    if len(ranking(search, trials)) < 4 or len(search.space.dimensions) < 2:
        return {}
    study = search.study(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError) as error:  # all values alike, or a setting that took one value
            log.info("importance cannot be said: %s", error)
            return {}
    return {key: float(share) for key, share in found.items()}


def _summary(search: Search, trials: list[Trial], ranked: list[Trial], importance: dict[str, float]) -> dict[str, Any]:
    return {
        "objective": search.objective,
        "direction": search.settings.direction,
        "fixed": [without_credentials(override) for override in search.fixed],
        "trials": len(trials),
        "best": [{"signature": t.signature, "value": t.value, "params": t.params} for t in ranked[:BEST]],
        "importance": importance,
    }


def _comma_separated(search: Search, trials: list[Trial]) -> str:
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["trial", "signature", "state", search.objective, "epochs", "seconds", *search.space.dimensions])
    for t in trials:
        did = (len(t.record.history), round(t.record.seconds, 1)) if t.record is not None else (0, 0)
        value = "" if t.value is None else t.value
        rows.writerow(
            [t.number, t.signature, t.state, value, *did, *(t.params[key] for key in search.space.dimensions)]
        )
    return out.getvalue()


def page(search: Search, trials: list[Trial], ranked: list[Trial], importance: dict[str, float]) -> str:
    """The page, pictures inside."""
    settings, place = search.settings, search.folder / PAGE
    body = [
        f"<h1>Search: {escape(search.objective)}</h1>",
        f"<p class=sub>{len(trials)} of {settings.trials} runs, {escape(settings.sampler)}, {settings.direction}; "
        f"<code>{escape(without_credentials(' '.join(search.fixed)))}</code></p>",
    ]
    if ranked:
        command = shlex.join(["visagent-train", *search.fixed, *search.space.overrides(ranked[0].params)])
        body.append(f"<p>The best run again: <code>{escape(without_credentials(command))}</code></p>")
    for title, figure in _figures(search, trials, importance):
        body.append(f"<h2>{escape(title)}</h2><figure>{inline_png(figure, title)}</figure>")
    for title, some in (("Best runs", ranked[:BEST]), ("All runs", trials)):
        body += [f"<h2>{title}</h2>", _rows(search, some, place)]
    return document(f"Search {search.folder.name}", "\n".join(body))


def _rows(search: Search, trials: list[Trial], place: Path) -> str:
    keys = list(search.space.dimensions)
    rows = []
    for t in trials:
        folder = search.outputs / "runs" / t.signature
        link = f"<a href='{relative(folder, place)}/'>{t.signature}</a>" if folder.is_dir() else t.signature
        value = "" if t.value is None else f"{t.value:.6g}"
        cells = [("run", link), (search.objective, value), ("state", t.state)]
        cells += [(key, escape(str(t.params[key]))) for key in keys]
        rows.append(
            f"<tr><th scope=row>{t.number}"
            + "".join(f"<td data-column='{escape(name, quote=True)}'><span>{cell}</span>" for name, cell in cells)
        )
    return table(["trial", "run", search.objective, "state", *keys], rows)


def _figures(search: Search, trials: list[Trial], importance: dict[str, float]) -> list[tuple[str, Figure]]:
    """Figures of Optuna: its history, what matters, and all runs side by side."""
    if len(ranking(search, trials)) < 2:
        return []
    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot as plt
    import optuna.visualization.matplotlib as plots

    study, objective, drawn = search.study(trials), search.objective, list[tuple[str, Any]]()
    # its plots change matplotlib's style for the whole process, and are kept by it
    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn.append(("History", plots.plot_optimization_history(study, target_name=objective)))
        if importance:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            drawn.append(("Importance", plots.plot_param_importances(study, evaluator=evaluator)))
        if len(search.space.dimensions) > 1:
            drawn.append(("Parallel coordinates", plots.plot_parallel_coordinate(study, target_name=objective)))
        for _, axes in drawn:
            axes.figure.set_size_inches(9.0, 4.5)
            plt.close(axes.figure)
    return [(title, axes.figure) for title, axes in drawn]


def _track(search: Search, parent: str, config: DictConfig, ranked: list[Trial]) -> None:
    logger: Any = OmegaConf.to_container(config.logger, resolve=True)
    uri = tracking_uri(logger, search.outputs)

    def write() -> None:
        client, _ = connect(uri, str(logger["experiment"]), search.outputs)
        for name in (PAGE, "trials.csv", "search.json"):
            client.log_artifact(parent, str(search.folder / name), "search")
        if ranked and ranked[0].value is not None:
            client.log_metric(parent, "search/best", ranked[0].value)
            client.set_tag(parent, "visagent.best", ranked[0].signature)

    try:
        ask(write, uri)
    except TrackingUnavailable as error:
        log.warning("MLflow does not take the search's page (%s); it lies in %s", error, search.folder)
