"""`visagent-videos`: make synthetic action videos, find broken ones, look at a data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from visagent.errors import ConfigError
from visagent.words import counted

LAYOUTS = ("something_v2", "something_v1", "ucf101", "hmdb51", "kinetics", "lists")
NAMED = 8
"""Entries of a folder that a line names; the rest it counts."""
BACKENDS = ("decord", "pyav", "torchcodec")


def _processes(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command's arguments; needs nothing but the standard library, so that `--help` is quick."""
    top = argparse.ArgumentParser(prog="visagent-videos", description="Videos for action recognition.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    make = commands.add_parser(
        "make",
        help="write synthetic actions",
        description="Write synthetic actions as real files in a data set's layout.",
    )
    make.add_argument("folder", type=Path, help="the data set's folder; one that is there already stays as it is")
    make.add_argument("--layout", default=LAYOUTS[0], choices=LAYOUTS, help="whose layout (default: %(default)s)")
    make.add_argument("--train", type=int, default=720, help="training videos (default: %(default)s)")
    make.add_argument("--val", type=int, default=240, help="validation videos (default: %(default)s)")
    make.add_argument("--size", type=int, default=96, help="height and width in pixels (default: %(default)s)")
    make.add_argument("--seed", type=int, default=0, help="of everything drawn (default: %(default)s)")
    make.add_argument("--workers", type=_processes, default=0, help="processes (default: one per core)")

    verify = commands.add_parser(
        "verify", help="find broken videos", description="Decode every video; list those that cannot be used."
    )
    verify.add_argument("folder", type=Path, help="the data set's folder")
    verify.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="whose layout (default: recognised; without one, every video file below the folder)",
    )
    verify.add_argument(
        "--backend", default="decord", choices=BACKENDS, help="that a training would use (default: %(default)s)"
    )
    verify.add_argument("--workers", type=_processes, default=0, help="processes (default: one per core)")

    show = commands.add_parser(
        "show", help="a contact sheet", description="Draw one video of each class, eight frames each."
    )
    show.add_argument("folder", type=Path, help="the data set's folder")
    show.add_argument("--layout", choices=LAYOUTS, help="whose layout (default: recognised)")
    show.add_argument("--split", default="train", choices=("train", "val"))
    show.add_argument("--classes", type=int, default=12, help="at most so many (default: %(default)s)")
    show.add_argument(
        "--out", type=Path, default=Path("outputs/views/videos.png"), help="the picture (default: %(default)s)"
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit status says whether all was well."""
    options = parser().parse_args(arguments)
    return {"make": _make, "verify": _verify, "show": _show}[options.command](options)


def _make(options: argparse.Namespace) -> int:
    from rich.progress import track

    from visagent.video.make import Recipe, make

    recipe = Recipe(options.layout, options.train, options.val, options.size, options.seed)
    making = make(recipe, options.folder, options.workers or None)
    count = 0
    for count in track(making, "Making videos", total=options.train + options.val):  # noqa: B007
        pass
    print(f"{options.folder}: {counted(count, 'video')} made" if count else f"{options.folder}: there already")
    return 0


def _layout(options: argparse.Namespace) -> str | None:
    from visagent.video.layouts import detect

    return options.layout or detect(options.folder)


def _verify(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from visagent.video.layouts import survey
    from visagent.video.verify import verify_all, videos_of

    layout = _layout(options)
    paths = videos_of(options.folder, layout)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    broken, frames = 0, []
    for verdict in track(
        verify_all(paths, options.backend, options.workers or None), "Verifying", total=len(paths), console=console
    ):
        if verdict.problem is not None:
            broken += 1
            console.print(f"{verdict.path}: {verdict.problem}", highlight=False, markup=False, soft_wrap=True)
        else:
            frames.append(verdict.frames)
    lengths = f", {min(frames)} to {max(frames)} frames" if frames else ""
    console.print(
        f"{counted(len(paths), 'video')} ({layout or 'no known layout'}){lengths}: {broken} broken",
        highlight=False,
        markup=False,
    )
    beside = survey(options.folder, paths)
    for what, names in (("not listed", beside.unlisted), ("refused, as no video, picture or folder", beside.refused)):
        shown = ", ".join(Path(name).name for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        console.print(
            f"beside them {len(names)} {what}" + (f": {shown}" if names else ""),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    console.print(f"beside them {beside.hidden} ignored, as hidden", highlight=False)
    return 1 if broken else 0


def _show(options: argparse.Namespace) -> int:
    import numpy as np
    from PIL import Image, ImageDraw

    from visagent.video.clip_lists import Clip
    from visagent.video.decode import Frames, VideoError, read_frames
    from visagent.video.layouts import read
    from visagent.video.sampling import middle_segments
    from visagent.video.transforms import center_crop, resize_short_side

    layout = _layout(options)
    if layout is None:
        raise ConfigError(
            f"{options.folder}: expected the layout of a data set; name it with --layout {'|'.join(LAYOUTS)}"
        )
    clips = read(layout, options.folder, options.split)
    side, title = 112, 16
    shown: list[tuple[Clip, Frames]] = []
    for label in sorted({clip.label for clip in clips.clips})[: options.classes]:
        for clip in (clip for clip in clips.clips if clip.label == label):
            try:
                shown.append((clip, read_frames(clip.path, lambda count: middle_segments(count, 8)[0])))
                break
            except VideoError as error:
                print(f"{error}; showing another one of its class", file=sys.stderr)
    if not shown:
        raise ConfigError(f"{options.folder}: no video of {options.split} can be read; visagent-videos verify says why")
    sheet = Image.new("RGB", (8 * side, len(shown) * (side + title)), "white")
    for row, (clip, whole) in enumerate(shown):
        frames = center_crop(resize_short_side(whole, side), side)
        sheet.paste(Image.fromarray(np.concatenate(list(frames), axis=1)), (0, row * (side + title) + title))
        ImageDraw.Draw(sheet).text(
            (2, row * (side + title) + 2), f"{clips.classes[clip.label]}   ({Path(clip.path).name})", fill="black"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ConfigError(f"--out: expected a picture's name such as videos.png, got {options.out}")
    sheet.save(options.out)
    print(
        f"{options.out}: {len(shown)} of {len(clips.classes)} classes, "
        f"{counted(len(clips.clips), 'video')} in {options.split}"
    )
    return 0
