"""Numbers and texts as they may come from elsewhere: whatever is beyond these bounds is no value of ours, and not decoded.

An `Int` fits the journal's columns and 64 bits; a `Text` is longer than any key that a file system or a source allows.
"""

from typing import Annotated

import msgspec

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Float = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
Text = Annotated[str, msgspec.Meta(max_length=65_536)]
"""No number is NaN or infinite: those are beyond any bound."""
