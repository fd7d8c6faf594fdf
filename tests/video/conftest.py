"""Real files, encoded in a process of their own (decord's libraries hide the encoders')."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENCODE = """
import sys
from pathlib import Path
import numpy as np
from visagent.video.decode import write_video
folder, count = Path(sys.argv[1]), 40

def numbered(height=64, width=96):
    frames = np.full((count, height, width, 3), 20, np.uint8)
    for t in range(count):  # the frame's number in six large black or white squares, and a bar that moves
        for bit in range(6):
            frames[t, 8:24, 2 + bit * 15 : 14 + bit * 15] = 255 if t >> bit & 1 else 0
        frames[t, 40:56, 2 * t : 2 * t + 8] = (200, 60, 30)
    return frames

plans = {
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, 0),
    "vp8.webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}, 0),
    "h264_b.mp4": ("libx264", {}, 2),
    "mpeg4_b.mp4": ("mpeg4", {"b": "2000000"}, 2),
    "mpeg4.avi": ("mpeg4", {"b": "2000000"}, 0),
    "mpeg4_b.avi": ("mpeg4", {"b": "2000000"}, 2),
    "mpeg4_b.mkv": ("mpeg4", {"b": "2000000"}, 2),
    "mjpeg.avi": ("mjpeg", {}, 0),
}
for name, (codec, options, b_frames) in plans.items():
    frames = numbered()
    if codec == "mjpeg":
        import av
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("mjpeg", rate=12)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    else:
        write_video(folder / name, frames, codec, 12, options, b_frames)
write_video(folder / "one_frame.webm", numbered()[:1], "libvpx-vp9", 12)
import av
with av.open(str(folder / "audio.webm"), "w") as container:
    stream = container.add_stream("libopus", rate=48000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 960 * 2), np.int16), format="s16", layout="stereo")
    frame.sample_rate, frame.pts = 48000, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
"""
VIDEOS = ("vp9.webm", "vp8.webm", "h264_b.mp4", "mpeg4_b.mp4", "mpeg4.avi", "mpeg4_b.avi", "mpeg4_b.mkv", "mjpeg.avi")


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 40 numbered frames in many containers and codecs, and files that are none."""
    folder = tmp_path_factory.mktemp("encoded")
    subprocess.run([sys.executable, "-c", ENCODE, str(folder)], check=True, capture_output=True)
    (folder / "empty.webm").write_bytes(b"")
    (folder / "text.avi").write_text("this is no video")
    (folder / "cut.avi").write_bytes((folder / "mpeg4.avi").read_bytes()[: (folder / "mpeg4.avi").stat().st_size // 2])
    whole = (folder / "vp9.webm").read_bytes()
    (folder / "cut.webm").write_bytes(whole[:200])
    return folder
