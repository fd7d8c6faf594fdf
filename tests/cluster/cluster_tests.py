"""What tests of clusters share: the tool that they start, and a look at this machine's processes."""

from collections.abc import Iterator
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "slurm-dev"


def processes() -> Iterator[tuple[int, bytes]]:
    """Processes of this machine, and their command lines; those that have ended and were not waited for have none."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if command:
            yield int(path.parent.name), command.replace(b"\0", b" ")


def environment_of(process: int) -> dict[str, str]:
    """A process's environment as it began; nothing where it has ended."""
    try:
        content = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return {name: value for name, _, value in (each.partition("=") for each in content.split("\0"))}
