"""The index of all tables, and whose files a table writes."""

from __future__ import annotations

import json

from visagent.tables.publish import SUMMARY, stem, write_index
from visagent.tables.results import Results


def test_a_file_that_does_not_read_stops_no_table(tmp_path, caplog):
    folder = tmp_path / "smoke" / "nobody"
    folder.mkdir(parents=True)
    whole = json.dumps(dict.fromkeys(SUMMARY, "here") | {"page": "whole.html"})
    texts = {
        "whole": whole.encode(),
        "cut": whole.encode()[:40],
        "empty": b"",
        "list": b"[1]",
        "latin": b'{"name": "\xdc"}',
        "older": b'{"name": "x"}',
    }
    for name, text in texts.items():
        (folder / f"{name}.json").write_bytes(text)
    write_index(tmp_path)
    assert "smoke/nobody/whole.html" in (tmp_path / "index.html").read_text()
    assert sorted(record.args[0].stem for record in caplog.records) == ["cut", "empty", "latin"]


def test_real_videos_have_files_of_their_own(grid, tmp_path):
    embedded, elsewhere, real = (
        stem(tmp_path, Results(grid, extra, {}, {})) for extra in ((), ("paths.outputs=/x",), ("paths.videos=/data",))
    )
    assert embedded == elsewhere != real
