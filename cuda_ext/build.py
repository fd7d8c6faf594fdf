"""Build the shift op's kernels: `python -m cuda_ext.build`. Set-up calls it; nothing is compiled at run time.

A machine without a C++ compiler, or one on which the build fails, runs `cuda_ext.reference`, and the op says so once. Where that must not
pass unseen, `VISAGENT_REQUIRE_OP=1` makes a failure one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "csrc"
BUILD = HERE / "_build"
INFO = BUILD / "build_info.json"
REQUIRE = "VISAGENT_REQUIRE_OP"
COMMON = ("-O3", "-std=c++20", "-fPIC", "-fopenmp-simd", "-fno-trapping-math", "-fno-math-errno")
INSTRUCTION_SETS = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
}
"""One object file each; the running processor decides which is used."""
TARGET = "-DTORCH_TARGET_VERSION=0x020b000000000000"
"""The stable ABI of PyTorch 2.11: a library serves this version and later ones."""


@dataclass(frozen=True)
class Built:
    """What the last build left: `library` of these sources, or why there is none."""

    key: str
    library: str | None
    compiler: str | None
    reason: str | None


def key() -> str:
    """Of the sources, of how they are built and of the PyTorch that loads them."""
    digest = hashlib.sha256(" ".join([*COMMON, TARGET, platform.machine(), version("torch")]).encode())
    for path in [Path(__file__), *sorted(SOURCES.iterdir())]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def last() -> Built | None:
    """The last build of the sources as they are now, or None."""
    if not INFO.is_file():
        return None
    stored = json.loads(INFO.read_text())
    if stored.get("key") != key():  # also what another version of this file wrote
        return None
    built = Built(**stored)
    return built if built.library is None or Path(built.library).is_file() else None


def find_compiler() -> str | None:
    """`$CXX`, or the first C++ compiler on the path."""
    return next((found for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name and (found := shutil.which(name))), None)


def build() -> Built:
    """Compile what is missing and record how it went; never raises for a compiler's sake."""
    import torch

    BUILD.mkdir(exist_ok=True)
    for left in BUILD.glob("*.o"):  # of a build that failed or was stopped
        left.unlink(missing_ok=True)
    name, compiler = key(), find_compiler()
    library, reason = BUILD / f"rubiks_shift_cpu_{name}.so", None
    if compiler is None:
        reason = "no C++ compiler: install g++ (or name one with CXX=...) and type python -m cuda_ext.build"
    else:
        try:
            _compile(compiler, Path(torch.__file__).parent, library)
        except subprocess.CalledProcessError as error:
            reason = f"{compiler} failed:\n{error.stderr.strip()}"
    built = Built(name, None if reason else str(library), compiler, reason)
    INFO.write_text(json.dumps(asdict(built), indent=1) + "\n")
    return built


def _compile(compiler: str, torch: Path, library: Path) -> None:
    include = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    sets = INSTRUCTION_SETS if platform.machine() == "x86_64" else {"baseline": ()}
    jobs = [(f"kernels_{isa}.cpp", list(flags)) for isa, flags in sets.items()] + [("rubiks_shift_cpu.cpp", [*include, TARGET])]
    objects = []
    for source, flags in jobs:
        objects.append(BUILD / f"{Path(source).stem}_{os.getpid()}.o")
        _run([compiler, *COMMON, *flags, "-c", str(SOURCES / source), "-o", str(objects[-1])])
    partial = library.with_suffix(f".{os.getpid()}")
    _run([compiler, "-shared", *map(str, objects), "-o", str(partial), f"-L{torch / 'lib'}", "-ltorch_cpu", "-ltorch"])
    os.replace(partial, library)
    for path in [*objects, *(old for old in BUILD.glob("rubiks_shift_cpu_*.so") if old != library)]:
        path.unlink(missing_ok=True)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def main() -> int:
    """Build, say what came of it; 1 when it failed and `VISAGENT_REQUIRE_OP` is set."""
    built = last()
    if built is None or built.library is None:
        built = build()
    if built.library is not None:
        print(f"shift op: compiled by {built.compiler}")
        return 0
    print(f"shift op: not compiled, plain PyTorch is used: {built.reason}", file=sys.stderr)
    return 1 if os.environ.get(REQUIRE) == "1" else 0


if __name__ == "__main__":
    sys.exit(main())
