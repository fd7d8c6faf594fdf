"""`visagent-predict`: what a trained network says of videos; how a trained policy acts, as films."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.config.trust import locate
from visagent.errors import ConfigError
from visagent.runtime.arguments import add_place_of_runs, count, with_outputs
from visagent.runtime.record import write_atomically
from visagent.runtime.run_folder import RunFolder, find_run

if TYPE_CHECKING:
    from visagent.networks.deploy import Exportable
    from visagent.video.dataset import EvaluationClips

STANDARD_INPUT = "-"
TOP, PROTOCOL = 5, "1_clip"
NAME = "standard input"


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="visagent-predict",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(__doc__ or "").partition(": ")[2],
        epilog="""\
of action recognition:
  visagent-predict run=r3f2 clip.mp4 other.webm            the likeliest classes of each
  visagent-predict run=r3f2 videos/ --json answers.json    of all videos below a folder, or of one that holds frames
  cat clip.mp4 | visagent-predict run=r3f2 -               of a video's bytes on standard input
  visagent-predict run=r3f2 clip.mp4 --film films          the video again, with the answer written on it
of policies (reinforcement learning, imitation navigation), which play episodes and are filmed:
  visagent-predict run=r81c --episodes 3 --seed 7          films in the run folder, or --film DIR
  visagent-predict run=r81c datamodule.env.look=video_hard another look, or other settings of the data
  visagent-predict run=r81c env=cartpole_balance           another world with the same observations and actions""",
    )
    top.add_argument("what", nargs="+", metavar="run=SIGNATURE | CLIP | DIR | - | KEY=VALUE", help="see below")
    top.add_argument("--top", type=count, help=f"classes that are named (default: {TOP})")
    top.add_argument("--protocol", help=f"1_clip, 2_clip or dense (default: {PROTOCOL})")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all answers there")
    top.add_argument("--film", type=Path, metavar="DIR", help="write films there")
    top.add_argument("--episodes", type=count, help="that are played (default: 1)")
    top.add_argument("--seed", type=int, help="of the first episode (default: 0)")
    top.add_argument("--device", help="of the network that sees videos (default: cpu)")
    add_place_of_runs(top)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `visagent-predict`; the exit status is 1 where a video could not be read."""
    asked = parser().parse_intermixed_args(with_outputs(arguments))
    runs = [argument.removeprefix("run=") for argument in asked.what if argument.startswith("run=")]
    if len(runs) != 1:
        named = next((word for word in asked.what if re.fullmatch(r"r[0-9a-f]{3,}", word)), "SIGNATURE")
        raise ConfigError(f"expected one run=SIGNATURE, got {' '.join(asked.what) or 'none'}; type run={named}")
    overrides = [each for each in asked.what if re.match(r"(env|datamodule\.[\w.]+)=", each)]
    clips = [each for each in asked.what if not each.startswith("run=") and each not in overrides]
    if asked.json is not None:  # not after all the work
        asked.json.parent.mkdir(parents=True, exist_ok=True)
    folder = find_run(asked.outputs / "runs", runs[0])
    stored = folder.runnable(asked.allow_targets)
    of_videos = hasattr(locate(str(stored["algorithm"]["_target_"]), "algorithm"), "exportable")
    for option in ("episodes", "seed") if of_videos else ("top", "protocol", "device"):
        if getattr(asked, option) is not None:
            kind = "a policy" if of_videos else "videos"
            raise ConfigError(f"--{option}: is for a run of {kind}, which {stored['name']} is not")
    if of_videos:
        if overrides:
            raise ConfigError(f"{overrides[0]}: expected none for a run of videos; --protocol chooses their frames")
        return _say(folder, stored, clips, asked)
    if clips:
        raise ConfigError(
            f"{clips[0]}: expected no videos for {stored['name']}, whose policy acts; --episodes and --seed say what "
            "it plays"
        )
    return _play(folder, overrides, asked)


# Videos


def _say(folder: RunFolder, stored: dict[str, Any], wanted: Sequence[str], asked: argparse.Namespace) -> int:
    """Classify videos, one after the other."""
    if not wanted:
        raise ConfigError("expected videos, folders of them, or - for standard input: visagent-predict run=r3f2 DIR")
    from visagent.runtime.export import exportable_of
    from visagent.runtime.fitting import prepare

    prepare(1)
    import torch

    from visagent.video.clip_lists import UNLABELLED, Clip
    from visagent.video.dataset import PROTOCOLS, EvaluationClips, protocol

    device = asked.device or "cpu"
    try:
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device: expected cpu, or a device that is there, got {device!r} ({str(error).splitlines()[0]})"
        ) from error
    named = asked.protocol or PROTOCOL
    if named not in PROTOCOLS:
        raise ConfigError(f"--protocol: expected {', '.join(PROTOCOLS)}, got {named!r}")
    network, data = exportable_of(folder, stored), stored["datamodule"]
    views = protocol(named, data["resize"], data["crop"])
    answers: list[dict[str, Any]] = []
    films: set[Path] = set()
    with tempfile.TemporaryDirectory(prefix="visagent-predict-") as spare:
        paths = list(_videos(wanted, Path(spare)))
        clips = [Clip(str(path), UNLABELLED) for path, _ in paths]
        readable = EvaluationClips(clips, data["num_frames"], views, data["backend"])
        for (path, name), answer in zip(paths, _answers(network, readable, asked.top or TOP, device), strict=True):
            answers.append({"video": name, **answer})
            print(_line(answers[-1]), flush=True)
            if asked.film is not None and "error" not in answer:
                film = _free(asked.film, name, films)
                _annotated(path, answer["classes"]).make(film)
                answers[-1]["film"] = str(film)
                print(f"  {film}")
    if asked.json is not None:
        about = {"run": folder.path.name, "protocol": named, "predictions": answers}
        write_atomically(asked.json, json.dumps(about, indent=1) + "\n")
        print(f"wrote {asked.json}")
    broken = [answer for answer in answers if "error" in answer]
    if broken:
        print(f"{len(broken)} of {len(answers)} videos could not be read", file=sys.stderr)
    return 1 if broken else 0


def _free(folder: Path, name: str, films: set[Path]) -> Path:
    """Where the film of a video goes: by a name that is not the video's own, nor that of another film of this call."""
    stem, number = f"{Path(name).stem or 'video'}_predicted", 1
    while (path := folder / f"{stem}{'' if number == 1 else f'_{number}'}.mp4") in films:
        number += 1
    films.add(path)
    return path


def _videos(wanted: Sequence[str], spare: Path) -> Iterator[tuple[Path, str]]:
    """Files or folders of frames, and what they are called.

    Raises:
        ConfigError: for a folder without videos.
    """
    from visagent.video.entries import kind
    from visagent.video.layouts import video_files

    for name in wanted:
        path = Path(name)
        if name == STANDARD_INPUT:
            path = spare / "standard_input"
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            yield path, NAME
        elif path.is_dir():
            inside = video_files(path)
            frames = any(kind(entry) == "picture" for entry in path.iterdir())
            if not inside and not frames:
                raise ConfigError(f"{path}: expected videos below it, or the frames of one, got neither")
            yield from [(Path(each), each) for each in inside] if inside else [(path, name)]
        else:  # also where there is nothing, which is then said of it
            yield path, name


def _answers(network: Exportable, clips: EvaluationClips, top: int, device: str) -> Iterator[dict[str, Any]]:
    """The likeliest classes of each video with their probabilities, or why it cannot be read."""
    import torch

    from visagent.networks.normalizers import PictureNormalizer

    classes = network.description["classes"]
    model, normalized = network.network.to(device), PictureNormalizer().to(device)
    for number in range(len(clips)):
        sample = clips[number]
        if not len(sample.clips):
            yield {"error": sample.broken[0][1]}
            continue
        with torch.inference_mode():
            logits = model(normalized(torch.from_numpy(sample.clips).to(device))).mean(dim=0).float()
            shares, labels = logits.softmax(dim=0).topk(min(top, len(classes)))
        found = zip(labels.tolist(), shares.tolist(), strict=True)
        yield {"classes": [{"class": classes[label], "probability": share} for label, share in found]}


def _line(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"{answer['video']}\n  cannot be read: {answer['error']}"
    said = [f"  {one['probability']:6.1%}  {one['class']}" for one in answer["classes"]]
    return "\n".join([answer["video"], *said])


SHOWN = 3
"""Classes that are written on a film."""
SMALLEST = 360
"""Width in pixels below which a film is enlarged, so that what is written on it can be read."""


def _annotated(path: Path, classes: Sequence[dict[str, Any]]) -> Any:
    """The video with its likeliest classes below the picture."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    from visagent.actors.evaluation import PictureFilm
    from visagent.video.decode import all_frames, frame_rate

    frames = all_frames(path)
    factor = max(1, -(-SMALLEST // frames.shape[2]))
    height, width = frames.shape[1] * factor, frames.shape[2] * factor
    size = max(12, width // 28)
    said = [f"{one['probability']:.0%}  {one['class']}" for one in classes[:SHOWN]]
    band = Image.new("RGB", (width, (size + 6) * len(said) + 6), (24, 24, 24))
    pen, font = ImageDraw.Draw(band), ImageFont.load_default(size)
    for row, text in enumerate(said):
        pen.text((6, 4 + row * (size + 6)), text, (255, 255, 255), font)
    large = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    below = np.broadcast_to(np.asarray(band), (len(large), *np.asarray(band).shape))
    assert large.shape[1:3] == (height, width)
    return PictureFilm(np.concatenate([large, below], axis=1), frame_rate(path))


# Policies


def _play(folder: RunFolder, overrides: Sequence[str], asked: argparse.Namespace) -> int:
    """Play episodes and film them."""
    from visagent.runtime.evaluate import trained

    try:
        module, _ = trained(asked.outputs, str(folder.path), asked.allow_targets, _changes(overrides))
    except ConfigError as error:
        if overrides and "the run's network" in str(error):
            raise ConfigError(
                f"{' '.join(overrides)}: expected a world with the observations and actions that {folder.path} was "
                f"trained with, got another ({error})"
            ) from error
        raise
    if not hasattr(module, "play"):
        raise ConfigError(f"run {folder.path}: {type(module).__name__} has no policy that could act")
    where, played = asked.film or folder.path / "played", []
    stem = re.sub(r"[^\w.=-]+", "-", "_".join(["episode", *overrides]))
    for episode in module.play([(asked.seed or 0) + number for number in range(asked.episodes or 1)]):
        film = where / f"{stem}_{episode.seed}.mp4"
        episode.film.make(film)
        numbers = "  ".join(f"{name} {value:g}" for name, value in episode.numbers.items())
        print(f"seed {episode.seed}  {numbers}  {film}", flush=True)
        played.append({"seed": episode.seed, **episode.numbers, "film": str(film)})
    if asked.json is not None:
        about = {"run": folder.path.name, "overrides": list(overrides), "episodes": played}
        write_atomically(asked.json, json.dumps(about, indent=1) + "\n")
        print(f"wrote {asked.json}")
    return 0


def _changes(overrides: Sequence[str]) -> dict[str, Any]:
    """What overrides of the data change in a run's config."""
    from omegaconf import OmegaConf

    from visagent.config.composition import compose_root, config_folder

    worlds = [each for each in overrides if each.startswith("env=")]
    changes: Any = OmegaConf.from_dotlist([each for each in overrides if each not in worlds])
    if worlds:
        with config_folder():
            world = compose_root("train", worlds).datamodule.env
            changes = OmegaConf.merge({"datamodule": {"env": OmegaConf.to_container(world)}}, changes)
    plain: Any = OmegaConf.to_container(changes)
    return dict(plain)
