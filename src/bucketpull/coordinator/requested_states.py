"""The states that the operator requested for volumes: draining, or given up as lost."""

from msgspec.structs import replace

from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import VolumeState, VolumeStatus


class RequestedStates(dict[str, VolumeState]):
    """By volume id. Machines are told until they do as asked: one may have started since."""

    def applied(self, pulse: Pulse) -> list[str]:
        """Show the volumes of a pulse as they are wanted; return those whose machine does not know it yet."""
        pending = [each.id for each in pulse.volumes if each.id in self and each.state is VolumeState.OPEN]
        pulse.volumes = [self._as_wanted(volume) for volume in pulse.volumes]
        return pending

    def _as_wanted(self, volume: VolumeStatus) -> VolumeStatus:
        wanted = self.get(volume.id)
        if wanted is VolumeState.LOST or (wanted is not None and volume.state is VolumeState.OPEN):
            return replace(volume, state=wanted)
        return volume
