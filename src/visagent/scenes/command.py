"""`visagent-scenes`: make, check, show and convert scene dumps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from visagent.errors import ConfigError, MissingFileError
from visagent.pictures import plain

ROOMS = ("bathroom", "bedroom", "living_room", "kitchen")
EXTRACTORS = ("efficientnet_lite0", "resnet50", "random_resnet50")


def parser() -> argparse.ArgumentParser:
    """The command's arguments; needs nothing but the standard library, so that `--help` is quick."""
    top = argparse.ArgumentParser(
        prog="visagent-scenes", description="Scene dumps for target-driven navigation (HDF5, the THOR layout)."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    make = commands.add_parser(
        "make",
        help="make procedural rooms",
        description="Make rooms named as the original dumps: bathroom_01, bathroom_02, ...",
    )
    make.add_argument("folder", type=Path, help="where NAME.h5 files go")
    make.add_argument(
        "--rooms", default=",".join(ROOMS), help=f"comma-separated room types (default: {','.join(ROOMS)})"
    )
    make.add_argument("--count", type=int, default=5, help="scenes per room type (default: 5)")
    make.add_argument("--layout-seed", type=int, default=0, help="decides sizes and furniture (default: 0)")
    make.add_argument("--style-seed", type=int, default=0, help="decides colours and materials (default: 0)")
    make.add_argument(
        "--extractor",
        default=EXTRACTORS[0],
        choices=EXTRACTORS,
        help="feature extractor, recorded in the dump (default: %(default)s)",
    )
    make.add_argument("--weights", help="a .pth file for the extractor (default: its package, or torchvision's cache)")
    make.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    make.add_argument("--force", action="store_true", help="make dumps again that are there already")

    check = commands.add_parser(
        "check", help="check dumps", description="Graph against distances, unreachable states, views that look alike."
    )
    check.add_argument("paths", nargs="+", type=Path, help="dumps, or folders of dumps")
    check.add_argument("--fix", action="store_true", help="write distances computed from the graph into the files")
    check.add_argument("--aliases", type=int, default=5, help="rows of the aliasing table (default: 5)")

    info = commands.add_parser("info", help="what a dump holds")
    info.add_argument("paths", nargs="+", type=Path, help="dumps, or folders of dumps")

    view = commands.add_parser(
        "view", help="contact sheet of target candidates and a map", description="Write pictures of a dump."
    )
    view.add_argument("path", type=Path, help="a dump")
    view.add_argument(
        "--out", type=Path, default=Path("outputs/views"), help="folder for the pictures (default: %(default)s)"
    )
    view.add_argument("--count", type=int, default=12, help="candidates that are picked (default: 12)")
    view.add_argument("--states", help="comma-separated states instead of picked candidates")

    thor = commands.add_parser(
        "from-ai2thor",
        help="make dumps from an installed AI2-THOR",
        description="Drive AI2-THOR (pip install 'visagent[thor]') over its scenes.",
    )
    thor.add_argument("scenes", nargs="+", help="scene names, for example FloorPlan1 FloorPlan212")
    thor.add_argument(
        "--folder", type=Path, default=Path("outputs/thor"), help="where NAME.h5 files go (default: %(default)s)"
    )
    thor.add_argument("--extractor", default=EXTRACTORS[0], choices=EXTRACTORS)
    thor.add_argument("--weights", help="a .pth file for the extractor")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status says whether all was well."""
    options = parser().parse_args(arguments)
    run = {"make": _make, "check": _check, "info": _info, "view": _view, "from-ai2thor": _from_thor}[options.command]
    return run(options)


def _make(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from visagent.scenes.make import make_scenes, recipes

    rooms = [room for room in options.rooms.split(",") if room]
    wanted = recipes(rooms, options.count, options.layout_seed, options.style_seed, options.extractor, options.weights)
    console = Console()
    console.print(
        f"extractor {options.extractor}, weights {options.weights or 'default'}, into {options.folder}",
        highlight=False,
        markup=False,
    )
    count = 0
    for recipe, path, new in track(
        make_scenes(options.folder, wanted, options.workers or None, options.force),
        "Making scenes",
        total=len(wanted),
        console=console,
    ):
        count += new
        console.print(f"{recipe.name}: {path}{'' if new else ' (there already)'}", highlight=False, markup=False)
    console.print(f"{count} made, {len(wanted) - count} there already", highlight=False)
    return 0


def _dumps(paths: Sequence[Path]) -> list[Path]:
    from visagent.scenes.dump import list_dumps

    dumps: list[Path] = []
    for path in paths:
        dumps += list_dumps(path).values() if path.is_dir() else [path]
    return dumps


def _check(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from visagent.scenes.check import ALIAS_COSINE, check_scene
    from visagent.scenes.dump import DumpError, read_dump, write_distances

    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(
        "scene",
        "states",
        "places",
        "mean path",
        "longest",
        "unreachable pairs",
        "poorly reachable",
        f"alike (cos > {ALIAS_COSINE})",
    )
    failures = 0
    alike = Table(
        "scene", "state", "looks like", "cosine", "steps apart", title="views most alike", title_justify="left"
    )
    for path in _dumps(options.paths):
        try:
            if options.fix:
                write_distances(path)
            scene = read_dump(path)
        except (DumpError, MissingFileError) as error:
            failures += 1
            console.print(f"[red]error[/red]: {escape(str(error))}", highlight=False, soft_wrap=True)
            continue
        report = check_scene(scene)
        views = report.aliasing
        isolated = f"{len(report.isolated)}" + (
            f" ({', '.join(map(str, report.isolated[:4]))}...)" if report.isolated else ""
        )
        counts = (
            report.states,
            report.locations,
            f"{report.mean_path:.2f}",
            report.longest_path,
            report.unreachable_pairs,
        )
        table.add_row(escape(report.name), *map(str, counts), isolated, f"{views.share:.1%}")
        for state in views.cosine.argsort()[::-1][: options.aliases]:
            alike.add_row(
                escape(report.name),
                str(state),
                str(views.nearest[state]),
                f"{views.cosine[state]:.3f}",
                str(views.steps[state]),
            )
    if table.row_count:
        console.print(table)
        console.print(alike)
    return 1 if failures else 0


def _info(options: argparse.Namespace) -> int:
    import h5py

    from visagent.scenes.dump import read_dump

    for path in _dumps(options.paths):
        scene = read_dump(path)
        print(f"{scene.name}  ({scene.room_type})  {path}  {path.stat().st_size / 1e6:.1f} MB")
        with h5py.File(path, "r") as file:
            for key, value in file.items():
                print(
                    f"  {key:24} {value.shape!s:22} {value.dtype}"
                    if isinstance(value, h5py.Dataset)
                    else f"  {key:24} (ignored group)"
                )
        for key, value in scene.attributes.items():
            print(f"  @{key:23} {value}")
        low, high = scene.location.min(axis=0), scene.location.max(axis=0)
        print(
            f"  x {low[0]:.1f} to {high[0]:.1f} m, z {low[1]:.1f} to {high[1]:.1f} m, longest path "
            f"{scene.distance.max()} steps"
        )
        print(f"  fingerprint {scene.fingerprint()}")
    return 0


def _view(options: argparse.Namespace) -> int:
    from PIL import Image

    from visagent.scenes.dump import read_dump
    from visagent.scenes.targets import is_generated, pick_targets
    from visagent.scenes.view import contact_sheet, draw_map

    scene = read_dump(options.path)
    if options.states:
        states = [int(state) for state in options.states.split(",")]
        strange = [state for state in states if not 0 <= state < len(scene)]
        if strange:
            raise ConfigError(f"--states: expected states in 0..{len(scene) - 1}, got {strange[0]}")
    else:
        states = pick_targets(scene, min(options.count, len(scene)))
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = {
        "candidates": options.out / f"{scene.name}_candidates.png",
        "map": options.out / f"{scene.name}_map.png",
    }
    contact_sheet(scene, states).save(pictures["candidates"])
    plain(draw_map(scene, states)).savefig(pictures["map"], dpi=110)
    if is_generated(scene):  # its seeds rebuild the room, so it can be looked at from above
        from visagent.scenes.layout import build_room
        from visagent.scenes.render import SceneRenderer

        style = int(scene.attributes["style_seed"])
        with SceneRenderer(build_room(scene.room_type, int(scene.attributes["layout_seed"]), style), style) as renderer:
            pictures["top view"] = options.out / f"{scene.name}_top.png"
            Image.fromarray(renderer.top_view()).save(pictures["top view"])
    for name, path in pictures.items():
        print(f"{name}: {path}")
    return 0


def _from_thor(options: argparse.Namespace) -> int:
    from visagent.scenes.thor import convert

    for name in options.scenes:
        print(convert(name, options.folder, options.extractor, options.weights))
    return 0
