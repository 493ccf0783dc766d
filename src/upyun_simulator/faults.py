"""Which requests are answered badly: rules, read from text, matched by path, kind, chance and attempt.

    NAME[:key=value,...]        such as  429:p=0.1,burst=20/200  or  truncate:on=cdn,path=photos/*,first=2

Keys that every rule knows:

    path=PATTERN   only keys (for listings: folders, ending in a slash; `/` is the root) that match, with * and ?
    on=KINDS       of rest, cdn, list, get, head, usage, rest.get, cdn.get ...; several joined by +
    p=0.1          by chance, the same for the same seed, key and attempt
    first=N        only the first N attempts of each request, so that retrying helps
    nth=N          only the N-th attempt of each request
    page=N         only the N-th listing request of each folder
    count=N        N times in all
    burst=A/B      the last A of each B requests that the rule could concern: a storm
    sticky=1       the chance is one for each key, whatever the attempt and the listener: what is wrong stays wrong

Other keys are the effect's own: those that its description names, see `effects`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from upyun_simulator.message import Reply, Request

if TYPE_CHECKING:
    from upyun_simulator.overlay import Overlay

Act = TypeVar("Act")
KINDS: Final = ("list", "get", "head", "usage")
ALL: Final = frozenset({f"rest.{kind}" for kind in KINDS} | {"cdn.get", "cdn.head"})
GETS: Final = frozenset({"rest.get", "cdn.get"})
OBJECTS: Final = GETS | {"rest.head", "cdn.head"}
LISTS: Final = frozenset({"rest.list"})
BODIES: Final = GETS | LISTS
KEYS: Final = ("path", "on", "p", "first", "nth", "page", "count", "burst", "sticky")
RANGED: Final = frozenset({"416", "ignore-range", "replaced"})  # faults of requests with a Range header only


@dataclass(slots=True)
class Call:
    """A request as the faults see it: `listener` is `rest` or `cdn`, `key` an object's key or a folder's path."""

    listener: str
    kind: str
    key: str
    request: Request
    contents: "Overlay"

    @property
    def mark(self) -> str:
        """What tells one request from others of its kind: the key, for a page of a listing the cursor too."""
        return self.key if self.kind != "list" else f"{self.key}\n{self.request.header(b'x-list-iter') or ''}"

    @property
    def label(self) -> str:
        """What it is counted as, such as `cdn.get`."""
        return f"{self.listener}.{self.kind}"


@dataclass(frozen=True)
class Rule:
    """One fault as configured; `options` are the effect's own."""

    text: str
    name: str
    path: str
    on: frozenset[str]
    p: float
    first: int
    nth: int
    page: int
    count: int
    burst: tuple[int, int]
    sticky: bool
    options: dict[str, str]

    def concerns(self, call: Call) -> bool:
        """Return whether the rule is about this kind of request and this path."""
        if self.on.isdisjoint((call.listener, call.kind, call.label)):
            return False
        if self.name in RANGED and b"range" not in call.request.headers:
            return False
        return not self.path or fnmatchcase(call.key or "/", self.path)

    def number(self, name: str, default: float) -> float:
        """Return an option of the effect as a number."""
        return float(self.options.get(name, default))


@dataclass(slots=True)
class Hit:
    """A request that suffers a rule, with the listener's way to write an error."""

    rule: Rule
    call: Call
    refuse: Callable[[int, str], Reply]
    request_id: str

    def error(self, code: int) -> Reply:
        """Return an error reply."""
        return self.refuse(code, self.request_id)


class Effect(NamedTuple, Generic[Act]):
    """What a fault does: to which requests, how, and in words."""

    kinds: frozenset[str]
    act: Act
    says: str

    @property
    def keys(self) -> list[str]:
        """The keys of its own that a rule may have: those named in its description."""
        return re.findall(r"\b(\w+)=", self.says)


def parse_rule(text: str, effects: Mapping[str, Effect[Any]], sticky: frozenset[str]) -> Rule:
    """Read one rule. `effects` are the known faults."""
    name, _, rest = text.partition(":")
    if name not in effects:
        msg = f"unknown fault {name!r} in {text!r}: the faults are {', '.join(sorted(effects))}"
        raise ValueError(msg)
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    try:
        _check_keys(options, [*KEYS, *effects[name].keys])
        return _rule(text, name, options, effects[name].kinds, sticky=name in sticky)
    except ValueError as error:
        msg = f"fault {text!r} is not understood ({error}): write NAME:p=0.1,first=2,path=photos/*"
        raise ValueError(msg) from None


def _check_keys(options: dict[str, str], known: list[str]) -> None:
    for key in options:
        if key not in known:
            msg = f"it has no key {key!r}, only {', '.join(known)}"
            raise ValueError(msg)


def _rule(text: str, name: str, options: dict[str, str], kinds: frozenset[str], *, sticky: bool) -> Rule:
    share, _, every = options.pop("burst", "0/0").partition("/")
    chance = float(options.pop("p", 1))
    if not 0 <= chance <= 1:
        msg = f"p={chance} is no chance from 0 to 1"
        raise ValueError(msg)
    return Rule(
        text=text,
        name=name,
        path=options.pop("path", ""),
        on=_narrow(options.pop("on", ""), kinds),
        p=chance,
        first=int(options.pop("first", 0)),
        nth=int(options.pop("nth", 0)),
        page=int(options.pop("page", 0)),
        count=int(options.pop("count", 0)),
        burst=(int(share), int(every)),
        sticky=options.pop("sticky", "1" if sticky else "0") == "1",
        options=options,
    )


def _narrow(text: str, kinds: frozenset[str]) -> frozenset[str]:
    """Return the labels that are both possible for the fault and asked for."""
    if not text:
        return kinds
    words = set(text.split("+"))
    found = frozenset(label for label in kinds if words & {label, *label.split(".")})
    if not found:
        msg = f"it never concerns {text}, only {', '.join(sorted(kinds))}"
        raise ValueError(msg)
    return found


class Faults:
    """The rules in force. The first that fires for a request is the one that it suffers.

    What was injected is remembered only for the requests that suffered, so memory follows the faults, not the bucket.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.rules: list[Rule] = []
        self._suffered: Counter[tuple[str, str, str]] = Counter()
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._total: Counter[str] = Counter()
        self._met: Counter[str] = Counter()

    def add(self, rule: Rule) -> None:
        """Put a rule in force, behind the others."""
        self.rules.append(rule)

    def clear(self, name: str = "") -> None:
        """Drop the rules of one fault, or all, with what they remember."""
        self.rules = [rule for rule in self.rules if name and rule.name != name]
        for memory in (self._suffered, self._seen):
            for mark in [mark for mark in memory if not name or mark[0].partition(":")[0] == name]:
                del memory[mark]
        self._total.clear()
        self._met.clear()

    def match(self, call: Call) -> Rule | None:
        """Return the rule that this request suffers, if any."""
        for rule in self.rules:
            if rule.concerns(call) and self._fires(rule, call):
                self._suffered[rule.text, call.label, call.mark] += 1
                self._total[rule.text] += 1
                return rule
        return None

    def _fires(self, rule: Rule, call: Call) -> bool:
        if rule.burst[1] and not self._in_burst(rule):
            return False
        if rule.nth and not self._is_turn(rule, call, call.mark, rule.nth):
            return False
        if rule.page and not self._is_turn(rule, call, call.key, rule.page):
            return False
        suffered = self._suffered[rule.text, call.label, call.mark]
        if rule.first and suffered >= rule.first:
            return False
        if rule.count and self._total[rule.text] >= rule.count:
            return False
        return rule.p >= 1 or self._chance(rule, call, suffered) < rule.p

    def _in_burst(self, rule: Rule) -> bool:
        share, every = rule.burst
        self._met[rule.text] += 1
        return (self._met[rule.text] - 1) % every >= every - share

    def _is_turn(self, rule: Rule, call: Call, mark: str, turn: int) -> bool:
        self._seen[rule.text, call.label, mark] += 1
        return self._seen[rule.text, call.label, mark] == turn

    def _chance(self, rule: Rule, call: Call, attempt: int) -> float:
        who = f"{rule.name}:{call.key}" if rule.sticky else f"{rule.text}:{call.label}:{call.mark}:{attempt}"
        digest = hashlib.md5(f"{self._seed}:{who}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:4]) / 2**32
