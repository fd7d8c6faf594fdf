"""Where the tests of clusters find what they start."""

from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "slurm-dev"
