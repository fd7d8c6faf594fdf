"""What the documents name is there: commands, presets, tables, settings, files; the README's commands compose."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser

from processes import run
from visagent.config.composition import config_folder
from visagent.config.presets import options, presets, tables
from visagent.runtime.settings_report import reference

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
GROUPS = ("algorithm", "network", "optimizer", "datamodule", "trainer", "checkpoint", "progress", "logger", "paths")
GROUPS += ("launcher", "machine", "learners")
KEY = re.compile(rf"(?<![\w.+])\+{{0,2}}((?:{'|'.join(GROUPS)})\.[a-z_][\w.]*)=")
STANDS_FOR = re.compile(
    r"\b(DIR|FILE|NAME|KEY|VALUE|SIGNATURE|METRIC|HOST|PORT|r3f2|r81c|r49b|clipp)\b|\.\.\.|<\w+>|MODULE|my_package|mysite|src/env/data"
)
"""What a reader puts something else for, or what is elsewhere."""
OUTSIDE = ("own/", "reinforce", "awr")
"""Of the package that the documents show how to make."""


def commands(text: str) -> list[str]:
    """Lines of shell and spans of code that begin with one of our commands; continued lines joined, no comments."""
    fences = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for fence in fences for line in fence.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    said = [re.sub(r"\s#\s.*|\s{2,}#.*", "", line).strip() for line in (*lines, *spans)]
    return [line for line in said if re.match(r"(visagent-|make )", line)]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_targets_are_there(page):
    makefile = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(PAGES[page]):
        first, *rest = line.split()
        if first == "make":
            assert rest[0] in makefile, line
        else:
            assert first in SCRIPTS, line


@pytest.mark.parametrize("page", PAGES)
def test_presets_tables_and_options_are_there(page):
    text = PAGES[page]
    for name in re.findall(r"experiment=([\w/]*\w)(?!/|\w)", text):
        assert name in presets() or name.startswith(OUTSIDE) or STANDS_FOR.search(name), name
    for name in re.findall(r"visagent-table ([\w]+/[\w]+)", text):
        assert name in tables() or name.startswith(OUTSIDE), name
    for group in (
        "env",
        "network",
        "datamodule",
        "optimizer",
        "actors",
        "launcher",
        "machine",
        "learners",
        "video_set",
    ):
        for name in re.findall(rf"(?<![\w./]){group}=(\w+)", text):
            assert name in options(group) or STANDS_FOR.search(name), f"{group}={name}"


@pytest.fixture(scope="module")
def known():
    """Keys of all settings, as the page of settings has them."""
    found = set()
    for group, kinds in reference():
        where = {"run": "", "env": "datamodule.env."}.get(group, f"{group}.")
        found |= {f"{where}{item.key}" for _, _, settings in kinds for item in settings}
    with config_folder():
        raw = compose("train", ["experiment=navigation/dagger"])
        found |= {f"trainer.{key}" for key in raw.trainer}
    return found


@pytest.mark.xdist_group("pages")  # one worker reads what there is
@pytest.mark.parametrize("page", PAGES)
def test_settings_are_there(page, known):
    """A key below one that takes any, such as `datamodule.targets.kitchen_02`, is there with it."""
    for key in KEY.findall(PAGES[page]):
        if STANDS_FOR.search(key) or key.startswith(tuple(f"algorithm.{name}" for name in ("most_advantage",))):
            continue
        below = any(key.startswith(f"{one}.") or one.startswith(f"{key}.") for one in known)
        assert key in known or below, f"{page}: {key}"


def test_the_readmes_commands_compose():
    """Each whole one, with the first value of each setting that has several."""
    seen = 0
    for line in commands(PAGES["README.md"]):
        words = [word for word in shlex.split(line)[1:] if "=" in word]
        if (
            not line.startswith("visagent-train")
            or STANDS_FOR.search(line)
            or any(w.startswith(OUTSIDE) for w in words)
        ):
            continue
        if any("=own/" in word for word in words):
            continue
        given = []
        for word, parsed in zip(words, OverridesParser.create().parse_overrides(words), strict=True):
            several = parsed.is_sweep_override() and "interval" not in word
            given.append(
                f"{parsed.get_key_element()}={next(iter(parsed.sweep_string_iterator()))}" if several else word
            )
        given = [word for word in given if "interval" not in word and not word.startswith("hydra/")]
        with config_folder():
            assert compose("train", given).algorithm is not None, line
        seen += 1
    assert seen > 25


@pytest.mark.parametrize("page", PAGES)
def test_files_are_there(page):
    for name in re.findall(
        r"`((?:src|conf|lightning_modules|datamodules|cuda_ext|tests|examples|docs)/[\w/.-]+)`", PAGES[page]
    ):
        assert (ROOT / name).exists() or STANDS_FOR.search(name), f"{page}: {name}"


def test_the_picture_of_the_architecture_is_of_todays_imports():
    script = ROOT / "scripts" / "architecture.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"type python scripts/architecture.py: {done.stderr}"


def test_the_readme_names_all_pages():
    linked = set(re.findall(r"\]\((docs/\w+\.md)\)", PAGES["README.md"]))
    assert {page for page in PAGES if page.startswith("docs/")} <= linked
    assert {"docs/results/README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= set(
        re.findall(r"\]\(([\w/]+\.md)\)", PAGES["README.md"])
    )


@pytest.mark.process
def test_the_readmes_cheap_commands_run(tmp_path):
    """What looks and trains nothing, in an empty folder."""
    ran = []
    for line in commands(PAGES["README.md"]):
        looks = line.startswith(("visagent-info", "visagent-table")) and "--run" not in line
        if (looks or "--cfg job" in line) and not STANDS_FOR.search(line):
            done = run(*shlex.split(line), check=False, cwd=tmp_path)
            assert done.returncode == (1 if line.startswith("visagent-info runs") else 0), (line, done.stderr)
            ran.append(line)
    assert len(ran) >= 4
