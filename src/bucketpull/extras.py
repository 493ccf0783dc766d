"""What the extras of the package bring, and the command that adds one to this installation."""

import shlex
import sys
from pathlib import Path
from typing import Final

_MODULES: Final[dict[str, frozenset[str]]] = {
    "rabbitmq": frozenset({"aiormq", "pamqp", "yarl"}),
    "web": frozenset({"aiohttp", "prometheus_client"}),
    "parquet": frozenset({"pyarrow"}),
    "simulator": frozenset({"httptools"}),
}
_OF_PIPX: Final = "pipx_metadata.json"  # what pipx keeps in each environment that it makes


def extra_of(module: str) -> str | None:
    """Return the extra that brings a module; None: none does."""
    return next((extra for extra, modules in _MODULES.items() if module in modules), None)


def adding(extra: str) -> str:
    """Return the command that adds an extra where this runs.

    pipx remembers only what it put there itself. pip takes the extra's packages from the metadata of the bucketpull that
    is installed, which therefore need not be on an index.
    """
    if (Path(sys.prefix) / _OF_PIPX).exists():
        return shlex.join(["pipx", "inject", "bucketpull", *_packages(extra)])
    return f"{shlex.quote(sys.executable)} -m pip install 'bucketpull[{extra}]'"


def _packages(extra: str) -> list[str]:
    """Return the packages of an extra, as the metadata of the installation names them."""
    from importlib.metadata import PackageNotFoundError, requires  # a tenth of a start's imports

    try:
        named = requires("bucketpull") or []
    except PackageNotFoundError:
        named = []
    ends = (f"extra == '{extra}'", f'extra == "{extra}"')
    return [each.partition(";")[0].strip() for each in named if each.endswith(ends)]
