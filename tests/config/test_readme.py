"""What the documents say is where they say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_is_to_be_changed_is_where_it_is_said_to_be():
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Where to change what is there")[1].split("\n## ")[0]
    named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)
    assert len(named) == 8
    for name, file in named:
        assert re.search(rf"^\s*(def {name}\(|{name}\b[^=]*= )", (ROOT / file).read_text(), re.MULTILINE), (name, file)
    assert all((ROOT / file).is_file() for file in re.findall(r"`([\w/]+\.(?:py|yaml))`", text))
