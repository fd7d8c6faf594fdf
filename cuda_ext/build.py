"""Build the shift op's kernels: `python -m cuda_ext.build`. Set-up calls it; nothing is compiled at run time.

A machine without a C++ compiler, or one on which the build fails, runs `cuda_ext.reference`, and the op says so once.
Where nvcc is found, the CUDA kernels become a second library, so that the first one loads where CUDA is not. Where a
failure must not pass unseen, `VISAGENT_REQUIRE_OP=1` makes it one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "csrc"


def _build_folder() -> Path:
    """Beside the sources, or in the user's cache where an installation may not be written to."""
    inside = HERE / "_build"
    if inside.is_dir() or os.access(HERE, os.W_OK):
        return inside
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visagent" / "op"


BUILD = _build_folder()
INFO = BUILD / "build_info.json"
REQUIRE = "VISAGENT_REQUIRE_OP"
COMMON = ("-O3", "-std=c++20", "-fPIC", "-fopenmp-simd", "-fno-trapping-math", "-fno-math-errno")
INSTRUCTION_SETS = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
}
"""One object file each; the running processor decides which is used."""
CUDA_ARCHITECTURES = ("80", "90")
"""Compute capabilities that are built where no GPU says which is wanted; newer ones compile the last one's PTX when
they load it.
"""
TARGET = "-DTORCH_TARGET_VERSION=0x020b000000000000"
"""The stable ABI of PyTorch 2.11: a library serves this version and later ones."""


@dataclass(frozen=True)
class Built:
    """What the last build left: `library` of these sources, or why there is none; the same for CUDA, None and None
    where there is no nvcc.
    """

    key: str
    library: str | None
    compiler: str | None
    reason: str | None
    cuda_library: str | None = None
    cuda_reason: str | None = None


def key() -> str:
    """Hash of the sources, of how they are built and of the PyTorch that loads them."""
    digest = hashlib.sha256(
        " ".join([*COMMON, TARGET, platform.machine(), version("torch"), find_nvcc() or ""]).encode()
    )
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
    whole = all(path is None or Path(path).is_file() for path in (built.library, built.cuda_library))
    return built if whole else None


def find_compiler() -> str | None:
    """`$CXX`, or the first C++ compiler on the path."""
    return next(
        (found for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name and (found := shutil.which(name))),
        None,
    )


def find_nvcc() -> str | None:
    """The CUDA compiler of `$CUDA_HOME`, or the first one on the path."""
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=str(Path(home) / "bin")) if home else shutil.which("nvcc")


def build() -> Built:
    """Compile what is missing and record how it went; never raises for a compiler's sake."""
    import torch

    BUILD.mkdir(parents=True, exist_ok=True)
    for left in BUILD.glob("*.o"):  # of a build that failed or was stopped
        left.unlink(missing_ok=True)
    name, compiler, nvcc, torch_folder = key(), find_compiler(), find_nvcc(), Path(torch.__file__).parent
    library, cuda = BUILD / f"rubiks_shift_cpu_{name}.so", BUILD / f"rubiks_shift_cuda_{name}.so"
    reason: str | None = "no C++ compiler: install g++ (or name one with CXX=...) and type python -m cuda_ext.build"
    cuda_reason: str | None = None
    if compiler is not None:
        with ThreadPoolExecutor() as pool:
            pending = pool.submit(_failure, compiler, lambda: _compile(compiler, torch_folder, library))
            if nvcc is not None:
                cuda_reason = _failure(nvcc, lambda: _compile_cuda(nvcc, compiler, torch_folder, cuda))
            reason = pending.result()
    has_cuda = nvcc is not None and compiler is not None and cuda_reason is None
    built = Built(
        name, None if reason else str(library), compiler, reason, str(cuda) if has_cuda else None, cuda_reason
    )
    INFO.write_text(json.dumps(asdict(built), indent=1) + "\n")
    return built


def _failure(compiler: str, compile_all: Callable[[], None]) -> str | None:
    """What a compiler said that failed; None where it did not."""
    try:
        compile_all()
    except subprocess.CalledProcessError as error:
        return f"{compiler} failed:\n{(error.stderr or error.stdout).strip()}"
    return None


def _compile_cuda(nvcc: str, compiler: str, torch: Path, library: Path) -> None:
    import torch as loaded

    if loaded.cuda.is_available():
        architectures = sorted(
            {
                f"{major}{minor}"
                for major, minor in map(loaded.cuda.get_device_capability, range(loaded.cuda.device_count()))
            }
        )
    else:
        architectures = list(CUDA_ARCHITECTURES)
    wanted = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in architectures]
    wanted.append(f"-gencode=arch=compute_{architectures[-1]},code=compute_{architectures[-1]}")
    include = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    partial = library.with_suffix(f".{os.getpid()}")
    host = [f"-ccbin={compiler}", "-Xcompiler=-fPIC", "--cudart=shared", "-shared"]
    source = str(SOURCES / "rubiks_shift_cuda.cu")
    links = [f"-L{torch / 'lib'}", "-ltorch_cuda", "-ltorch_cpu", "-ltorch"]
    _run(
        [
            nvcc,
            "-O3",
            "-std=c++20",
            "--threads=0",
            *host,
            *wanted,
            *include,
            TARGET,
            "-DUSE_CUDA",
            source,
            "-o",
            str(partial),
            *links,
        ]
    )
    os.replace(partial, library)
    for old in BUILD.glob("rubiks_shift_cuda_*.so"):
        if old != library:
            old.unlink(missing_ok=True)


def _compile(compiler: str, torch: Path, library: Path) -> None:
    include = [f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"]
    sets = INSTRUCTION_SETS if platform.machine() == "x86_64" else {"baseline": ()}
    jobs = [(f"kernels_{isa}.cpp", list(flags)) for isa, flags in sets.items()] + [
        ("rubiks_shift_cpu.cpp", [*include, TARGET])
    ]
    objects = [BUILD / f"{Path(source).stem}_{os.getpid()}.o" for source, _ in jobs]
    commands = [
        [compiler, *COMMON, *flags, "-c", str(SOURCES / source), "-o", str(to)]
        for (source, flags), to in zip(jobs, objects, strict=True)
    ]
    with ThreadPoolExecutor() as pool:
        list(pool.map(_run, commands))
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
    if built is None or built.library is None or built.cuda_reason is not None:
        built = build()
    failures = []
    if built.library is not None:
        print(f"shift op: CPU kernels compiled by {built.compiler}")
    else:
        failures.append(f"shift op: not compiled, plain PyTorch is used: {built.reason}")
    if built.cuda_library is not None:
        print(f"shift op: CUDA kernels compiled by {find_nvcc()}")
    elif built.cuda_reason is not None:
        failures.append(f"shift op: no CUDA kernels, plain PyTorch is used on GPUs: {built.cuda_reason}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures and os.environ.get(REQUIRE) == "1" else 0


if __name__ == "__main__":
    sys.exit(main())
