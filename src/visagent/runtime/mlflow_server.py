"""`visagent-mlflow-server`: one MLflow for all who work on a machine or a cluster; a thin command over MLflow's own."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from visagent.errors import ConfigError
from visagent.runtime.credentials import without_credentials
from visagent.runtime.tracking import database_file, settle

EPILOG = """Users then type MLFLOW_TRACKING_URI=http://HOST:PORT, or set machine.tracking_uri once for a site. Whoever
reaches the server can read and change everything: outside one machine put it behind a network of your own or a proxy
that asks for passwords. Arguments after -- go to `mlflow server`."""


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of MLflow's server.

    Raises:
        ConfigError: for a database whose driver is not installed, or an address outside this machine that was not
            asked for twice.
    """
    parser = argparse.ArgumentParser("visagent-mlflow-server", description=__doc__, epilog=EPILOG)
    parser.add_argument(
        "--database",
        metavar="URI",
        default="sqlite:///outputs/mlflow.db",
        help="sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME for many runs at once (default: %(default)s)",
    )
    parser.add_argument(
        "--artifacts", metavar="DIR", type=Path, default=Path("outputs/mlflow-artifacts"), help="(default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=5000, help="(default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="allow a host that other machines reach")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a further name that others reach it by, beside this machine's own (again for more)",
    )
    given = list(arguments)
    place = given.index("--") if "--" in given else len(given)
    asked, rest = parser.parse_args(given[:place]), given[place + 1 :]
    if not _loopback(asked.host) and not asked.open:
        raise ConfigError(
            f"--host {asked.host}: expected this machine's loopback, got an interface that others may reach, and "
            "MLflow asks nobody for a password; type --open too if that is meant"
        )
    scheme = asked.database.partition(":")[0]
    if (absent := _absent_driver(asked.database)) is not None:
        raise ConfigError(
            f"--database {without_credentials(asked.database)}: expected the Python module {absent}, found none; type "
            + (
                "pip install 'visagent[server]'"
                if scheme.startswith("postgresql")
                else f"{scheme}+DRIVER://... for another one"
            )
        )
    file = database_file(asked.database)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    elif scheme == "sqlite":
        raise ConfigError(f"--database {asked.database}: expected sqlite:///FILE")
    asked.artifacts.mkdir(parents=True, exist_ok=True)
    return [
        str(Path(sys.executable).with_name("mlflow")),
        "server",
        f"--backend-store-uri={asked.database}",
        f"--artifacts-destination={asked.artifacts.resolve().as_uri()}",
        f"--host={asked.host}",
        f"--port={asked.port}",
        # MLflow refuses requests to other names, so that no web page can speak to it.
        *([f"--allowed-hosts={','.join(_names(asked.name))}"] if asked.open else []),
        *rest,
    ]


def _absent_driver(uri: str) -> str | None:
    """The module that SQLAlchemy needs for an address, where it is not installed."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        return error.name
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            f"--database {without_credentials(uri)}: expected sqlite:///FILE or postgresql://USER@HOST/NAME ({error})"
        ) from error
    return None


def _names(further: Sequence[str]) -> list[str]:
    """Patterns of what clients may call the server: this machine's names, addresses of private networks."""
    names = dict.fromkeys(("localhost", "127.0.0.1", socket.gethostname(), socket.getfqdn(), *further))
    private = ["10.*", "192.168.*", *(f"172.{second}.*" for second in range(16, 32))]
    return [*names, *(f"{name}:*" for name in names), *private]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main() -> None:
    """Become MLflow's server."""
    line = command(sys.argv[1:])
    settle()
    os.execv(line[0], line)
