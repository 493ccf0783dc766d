"""What is counted is said in the singular where it is one."""

import ast
import re

import pytest
from scripts.translations import SOURCE, template

from bucketpull.domain.counting import counted


@pytest.mark.parametrize(
    ("number", "things", "said"),
    [
        (0, "objects", "0 objects"),
        (1, "objects", "1 object"),
        (2000, "objects", "2,000 objects"),
        (1, "ledger entries", "1 ledger entry"),
        (1, "damaged packs were", "1 damaged pack was"),
        (1, "processes are", "1 process is"),
        (1, "addresses", "1 address"),
        (1, "keys have", "1 key has"),
        (3, "keys have", "3 keys have"),
    ],
)
def test_a_number_agrees_with_what_it_counts(number, things, said):
    assert counted(number, things) == said


ALWAYS_SEVERAL = re.compile("in a row|^all {} machines|of {} machines|pages of the listing$|does not add up")
COUNTS = re.compile(
    r"(?<![\w.{}] of )\{\} (?:objects|files|packs|entries|keys|failures|pages|folders|volumes|lines|machines|messages)\b"
)


def test_no_text_puts_a_plural_after_a_number_by_itself():
    """A number is filled in by `counted`; a text of `words.TEXTS` agrees by itself."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                by_itself = "".join(
                    part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
                )
                assert template(node) is not None
                found += [(path.name, by_itself) for _ in COUNTS.finditer(by_itself)]

    assert {text for _, text in found if not ALWAYS_SEVERAL.search(text)} == set()
