"""How often an object's name is decoded and encoded on its way from the page that lists it to the ledger.

A job of one listed page runs in a process of its own, and those that it forks, in which each encoder and decoder of msgspec notes
when a value with one certain name in it goes through it.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from upyun_simulator import Simulator

OBJECTS = 1_000
_MEMORY = "/dev/shm"
_LOG = "BENCHMARK_NAMES_LOG"
_MARK = "BENCHMARK_NAMES_MARK"


def counted() -> Counter[str]:
    """Return how often the name was decoded and encoded; keys are such as `decode msgpack`."""
    with (
        tempfile.TemporaryDirectory(
            prefix="names-", dir=_MEMORY if os.path.isdir(_MEMORY) else None
        ) as folder,
        Simulator(f"flat:{OBJECTS},size=1KiB,dir=photos") as simulator,
    ):
        *_, item = islice(simulator.contents.walk(), OBJECTS // 2)  # in the middle of its page and batch
        log, volume = Path(folder, "log"), Path(folder, "volume")
        volume.mkdir()
        arguments = ["sync", f"upyun://{simulator.bucket}", str(volume), "--processes", "1", "--quiet"]
        arguments += ["--api-url", simulator.api_url, "--cdn-url", simulator.cdn_url or ""]
        arguments += ["--state", folder + "/state"]
        env = {**os.environ, _LOG: str(log), _MARK: item.key.rpartition("/")[2]}
        env |= {"UPYUN_OPERATOR": simulator.operator, "UPYUN_PASSWORD": simulator.password}
        subprocess.run([sys.executable, "-m", __name__, *arguments], env=env, check=True)
        return Counter(log.read_text().splitlines())


def _note(what: str, value: object) -> None:
    """Note that something was encoded, or came of decoding; what another one encoded and is only carried along does not count."""
    if _has(value, os.environ[_MARK]):
        with open(os.environ[_LOG], "a") as log:
            log.write(what + "\n")


def _has(value: object, name: str) -> bool:
    if isinstance(value, bytes | str):
        return value in (name, name.encode())
    if isinstance(value, dict):
        return any(_has(each, name) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set):
        return any(_has(each, name) for each in value)
    fields = getattr(value, "__struct_fields__", ())
    return any(_has(getattr(value, field), name) for field in fields)


def _watch(module: Any) -> None:
    """Put encoders and decoders that note what they are given in the place of a module's."""
    name = module.__name__.rpartition(".")[2]
    plain_encoder, plain_decoder = module.Encoder, module.Decoder

    class Encoder:
        def __init__(self, **options: Any) -> None:
            self._encoder = plain_encoder(**options)

        def encode(self, value: object) -> bytes:
            _note(f"encode {name}", value)
            data: bytes = self._encoder.encode(value)
            return data

    class Decoder:
        def __init__(self, type: Any = Any, **options: Any) -> None:  # noqa: A002 - as msgspec names it
            self._decoder = plain_decoder(type, **options)

        def decode(self, data: Any) -> Any:
            value = self._decoder.decode(data)
            _note(f"decode {name}", value)
            return value

    module.Encoder, module.Decoder = Encoder, Decoder
    module.encode = lambda value, **options: Encoder(**options).encode(value)
    module.decode = lambda data, **options: Decoder(**options).decode(data)


if __name__ == "__main__":
    import msgspec

    _watch(msgspec.msgpack)
    _watch(msgspec.json)
    from bucketpull.cli.main import main

    main()
