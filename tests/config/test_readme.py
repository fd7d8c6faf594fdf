"""What the README says is where it says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_is_to_be_changed_is_where_the_readme_says():
    text = (ROOT / "README.md").read_text().split("### Changing")[1].split("### Adding")[0]
    named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)
    assert len(named) == 8
    for name, file in named:
        assert re.search(rf"^\s*(def {name}\(|{name}\b[^=]*= )", (ROOT / file).read_text(), re.MULTILINE), (name, file)
    assert all((ROOT / file).is_file() for file in re.findall(r"`([\w/]+\.(?:py|yaml))`", text))
