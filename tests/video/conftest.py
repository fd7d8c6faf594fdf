"""Real files, and the backends that read them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from visagent.errors import ConfigError
from visagent.video.decode import BACKENDS, require


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 40 numbered frames in many containers and codecs, odd ones, and files that are none."""
    folder = tmp_path_factory.mktemp("encoded")
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("odd_videos.py")), str(folder)], check=True, capture_output=True
    )
    (folder / "empty.webm").write_bytes(b"")
    (folder / "text.avi").write_text("this is no video")
    for name, share in (("mpeg4.avi", 0.5), ("vp9.webm", 0.7), ("h264_b.mp4", 0.5), ("mpeg4_b.mkv", 0.8)):
        whole = (folder / name).read_bytes()
        (folder / f"cut{Path(name).suffix}").write_bytes(whole[: int(share * len(whole))])
    return folder


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend; torchcodec where it and FFmpeg are installed, which CI requires."""
    if request.param == "torchcodec" and os.environ.get("VISAGENT_REQUIRE_TORCHCODEC") != "1":
        try:
            require("torchcodec")
        except ConfigError as error:
            pytest.skip(str(error))
    return str(request.param)
