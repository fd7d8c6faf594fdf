"""Hooks of the site (`make docs`): pages that do not lie in docs/ as they are, and links that lead out of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from visagent.config.settings import SettingInfo
from visagent.runtime.settings_report import Setting, reference

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the repository's root, and the pages that they become."""
LINK = re.compile(r"(?<!\!)\[(?P<text>[^\]]+)\]\((?P<target>(?!https?://|#)[^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that come from elsewhere."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "settings.md", content=settings_page()))
    files.append(File.generated(config, "stylesheets/site.css", content=STYLE))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Lead links to other files of the repository to their pages, or leave their names alone."""
    folder = Path(page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        outside = (ROOT / "docs" / folder / target).resolve()
        if page.file.src_uri in PAGES.values():
            inside = files.get_file_from_path(target)
            outside = (ROOT / target).resolve()
        else:
            inside = files.get_file_from_path((folder / target).as_posix())
        if inside is not None or not outside.exists() or (ROOT / "docs") in outside.parents:
            return match[0]
        known = PAGES.get(outside.relative_to(ROOT).as_posix())
        up = "../" * len(folder.parts)
        return f"[{match['text']}]({up}{known}{f'#{anchor}' if anchor else ''})" if known else match["text"]

    return LINK.sub(link, markdown)


STYLE = """\
.md-grid { max-width: 76rem }
.md-typeset table:not([class]) { font-size: .68rem }
.md-typeset table:not([class]) td code { overflow-wrap: anywhere }
"""


def settings_page() -> str:
    """All settings, by group and option, from the dataclasses."""
    lines = [
        "# Settings",
        "",
        "What each setting is, its value in the group's own file, and what it may be. `visagent-info algorithm=ppo` "
        "shows the same in the terminal, `visagent-info run=SIGNATURE` also where each was set.",
    ]
    for group, options in reference():
        lines += ["", f"## {group}"]
        for option, says, settings in options:
            lines += ["", f"### {group}={option}" if option else "### of every run", "", says, ""]
            lines += ["| setting | value | may be | is |", "|---|---|---|---|"]
            lines += [_row(setting) for setting in settings]
    return "\n".join(lines) + "\n"


def _row(setting: Setting) -> str:
    info = setting.info or SettingInfo("")
    meaning = info.meaning + (f" ({info.symbol})" if info.symbol else "")
    cells = (f"`{setting.key}`", f"`{setting.shown}`", info.expected or info.bounds, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
