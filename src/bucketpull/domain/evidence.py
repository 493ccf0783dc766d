"""Whether a whole answer's bytes are the object's. Pure; docs/explanation/trouble.md tells the rule to users.

Proof is the MD5 that the source states together with the listed length, or, without any doubt, the listed length alone. An
answer in doubt is the object all the same if an origin gives it with the listed length and only its form is odd (its type, its
encoding), or if two answers are alike, one of them an origin's. Such an object is stored with a note of what was doubted.
"""

import msgspec

from bucketpull.domain.errors import Reason

# What an answer looks like, not what it holds: a page of text, another encoding.
_FORM = frozenset({Reason.TRANSFORMED, Reason.WRONG_CONTENT, Reason.GARBAGE})
# Doubts that two answers which are alike resolve. A request to slow down is none: it is alike each time.
_BY_AGREEMENT = _FORM | {Reason.CHECKSUM, Reason.SIZE}


class Body(msgspec.Struct, frozen=True):
    """What is known of the body of a whole answer. `md5` is b"" where it was not computed.

    `as_listed` tells whether its length is the listed one, or none is listed.
    """

    size: int
    md5: bytes
    as_listed: bool
    from_origin: bool

    def is_like(self, other: "Body | None") -> bool:
        """Tell whether two answers gave the same bytes, and one of them is an origin's."""
        return (
            other is not None
            and bool(self.md5)
            and (self.size, self.md5) == (other.size, other.md5)
            and (self.from_origin or other.from_origin)
        )


def weigh(
    body: Body, doubt: Reason | None, stated: bytes, other_size: bool, earlier: Body | None
) -> tuple[bool, Reason | None]:
    """Tell whether a body is the object, and what speaks against it: None where it is proven. For want of anything better an object is taken in spite of a doubt.

    Args:
        body: The body of a whole answer.
        doubt: What the source found odd about the answer.
        stated: The MD5 that the answer states, b"" if it states none or nobody is to look.
        other_size: Whether the listed size does not bind this answer, for instance because it states a later change.
        earlier: An earlier answer that was doubted.

    """
    is_equal = bool(stated) and body.md5 == stated
    if stated and not is_equal:
        doubt = doubt or Reason.CHECKSUM
    elif doubt is None and not body.as_listed and not (is_equal or other_size):
        doubt = Reason.SIZE
    if doubt is None or (is_equal and body.as_listed and doubt is not Reason.STALE):
        return True, None
    if doubt in _FORM and body.from_origin and body.as_listed and not (stated and not is_equal):
        return True, doubt
    is_agreed = doubt in _BY_AGREEMENT and body.is_like(earlier)
    if is_agreed and (body.as_listed or (doubt is Reason.SIZE and not stated)):
        return True, doubt
    return False, doubt
