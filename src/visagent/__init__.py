"""visagent trains and deploys visual agents."""

__version__ = "0.1.0"
