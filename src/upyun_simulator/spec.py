"""Specs: one line of text that says what a bucket holds.

    flat:N[,size=S][,dir=PATH][,seed=K][,suffix=.jpg]   one directory of N files
    tree:dirs=N,files=M[,depth=D][,size=S][,seed=K]     N leaf directories of M files, D levels down (default 3)
    demo                                                looks like a real site: 10,000 images, a few large files
    odd                                                 every name that breaks naive clients
    manifest:FILE                                       objects, folders and mounts written out in JSON or TOML
    NAME=SPEC;NAME=SPEC...                              several of these, each in a folder of its own

S is a size such as `20KiB`, or `uniform:1KiB:64KiB`, or `lognormal:33KiB:0.8`.
"""

from pathlib import Path

from upyun_simulator.buckets import Explicit, Flat, Tree, demo_bucket, odd_bucket, read_manifest
from upyun_simulator.contents import Contents
from upyun_simulator.sizes import parse_sizes

_DEFAULT_SIZES = "lognormal:33KiB:0.8"
_MOST = 10**12
_DEEPEST = 64


def parse_spec(text: str) -> Contents:
    """Return the contents that a spec describes; ValueError says what is wrong with it."""
    head = text.split(":", 1)[0]
    if "=" in head:
        return _mounted(text)
    family, _, rest = text.partition(":")
    makers = {"flat": _flat, "tree": _tree}
    if family in makers:
        return makers[family](rest)
    if family == "manifest":
        return read_manifest(Path(rest), parse_spec)
    if text == "demo":
        return demo_bucket()
    if text == "odd":
        return odd_bucket()
    msg = f"unknown spec {text!r}: use flat:N, tree:dirs=N,files=M, demo, odd, manifest:FILE or NAME=SPEC;NAME=SPEC"
    raise ValueError(msg)


def _mounted(text: str) -> Explicit:
    parts = dict(part.split("=", 1) for part in text.split(";") if part)
    return Explicit([], mounts={name.strip("/") + "/": parse_spec(spec) for name, spec in parts.items()})


def _flat(text: str) -> Contents:
    count, _, rest = text.partition(",")
    options = _options(rest, {"size", "dir", "seed", "suffix"})
    sizes = parse_sizes(options.get("size", _DEFAULT_SIZES))
    seed = _number("seed", options.get("seed", "0"))
    flat = Flat(_number("flat", count), sizes, seed, options.get("suffix", ".jpg"))
    path = options.get("dir", "").strip("/")
    return Explicit([], mounts={path + "/": flat}) if path else flat


def _tree(text: str) -> Tree:
    options = _options(text, {"dirs", "files", "depth", "size", "seed"})
    return Tree(
        _number("dirs", options.get("dirs", "1000")),
        _number("files", options.get("files", "5")),
        _number("depth", options.get("depth", "3"), 1, _DEEPEST),
        parse_sizes(options.get("size", _DEFAULT_SIZES)),
        _number("seed", options.get("seed", "0")),
    )


def _options(text: str, known: set[str]) -> dict[str, str]:
    options = dict(part.partition("=")[::2] for part in text.split(",") if part)
    unknown = set(options) - known
    if unknown:
        msg = f"unknown option {sorted(unknown)} in {text!r}: use {', '.join(sorted(known))}"
        raise ValueError(msg)
    return options


def _number(name: str, text: str, least: int = 0, most: int = _MOST) -> int:
    digits = text.replace("_", "")
    if not digits.isdecimal() or not least <= int(digits) <= most:
        msg = f"{name} is {text!r}: it must be a whole number from {least} to {most:,}"
        raise ValueError(msg)
    return int(digits)
