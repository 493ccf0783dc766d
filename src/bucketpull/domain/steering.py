"""What commands changed of the limits of a running job: the next coordinator of the same run goes by it. Pure."""

from collections.abc import Mapping

import msgspec

from bucketpull.domain.decoding import Text
from bucketpull.domain.messages import Limits


class Steering(msgspec.Struct, frozen=True):
    """`limits` are those of the whole job, `schedule` the bandwidth by time of day that they follow, None for none.

    `options` are the limits as they stood on the command line, by name: where the next one says others, these hold.
    """

    options: dict[Text, Text]
    limits: Limits
    schedule: Text | None = None

    def resumed(self) -> "Steering":
        """Return the same without a pause."""
        return msgspec.structs.replace(self, limits=msgspec.structs.replace(self.limits, paused=False))

    def under(self, options: Mapping[str, str], asked: Limits) -> "Steering":
        """Return what holds for a coordinator with these options, which ask for these limits: a pause stays in any case."""
        if options == self.options:
            return self
        limits = msgspec.structs.replace(asked, paused=self.limits.paused)
        return Steering(dict(options), limits, options.get("bandwidth"))
