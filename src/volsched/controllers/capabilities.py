"""Kubernetes access modes as CSI access modes, and a volume's capability as Node and Controller calls want it.

The attacher maps a volume's whole list of modes at once, the kubelet only the first one, the provisioner each of the claim's. Whether the
driver has SINGLE_NODE_MULTI_WRITER decides which single-node mode stands for ReadWriteOnce and ReadWriteOncePod.
Source: csi-lib-utils/accessmodes, pkg/volume/csi/csi_client.go; spec/volumes.md 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from lightkube.models.core_v1 import PersistentVolume

from volsched.api.csi import AccessMode, BlockVolume, MountVolume, VolumeCapability
from volsched.errors import ReconcileError
from volsched.rules.volumes import volume_mode_of

SINGLE_NODE_MULTI_WRITER: Final = "SINGLE_NODE_MULTI_WRITER"
STAGE_UNSTAGE_VOLUME: Final = "STAGE_UNSTAGE_VOLUME"
PUBLISH_UNPUBLISH_VOLUME: Final = "PUBLISH_UNPUBLISH_VOLUME"
PUBLISH_READONLY: Final = "PUBLISH_READONLY"
EXPAND_VOLUME: Final = "EXPAND_VOLUME"
MODIFY_VOLUME: Final = "MODIFY_VOLUME"

_RWO, _ROX, _RWX, _RWOP = "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"

# fmt: off
_CSI_MODES: Final = {
    # Kubernetes  without the capability     with it
    _RWO:        ("SINGLE_NODE_WRITER",      "SINGLE_NODE_MULTI_WRITER"),
    _ROX:        ("MULTI_NODE_READER_ONLY",  "MULTI_NODE_READER_ONLY"),
    _RWX:        ("MULTI_NODE_MULTI_WRITER", "MULTI_NODE_MULTI_WRITER"),
    _RWOP:       ("SINGLE_NODE_WRITER",      "SINGLE_NODE_SINGLE_WRITER"),
}
# fmt: on


def csi_mode(mode: str, *, multi_writer: bool) -> str:
    """One access mode in CSI's words. Raises ReconcileError for a mode that does not exist."""
    if mode not in _CSI_MODES:
        raise ReconcileError(f'access mode "{mode}" is not one of {", ".join(_CSI_MODES)}')
    return _CSI_MODES[mode][multi_writer]


def attach_mode(modes: Sequence[str], *, multi_writer: bool) -> str:
    """A volume's list of modes as the one mode it is attached with. Raises ReconcileError for lists that CSI has no word for."""
    given = set(modes)
    if _RWOP in given and len(given) > 1:
        raise ReconcileError("Kubernetes does not support use of ReadWriteOncePod with other access modes on the same PersistentVolume")
    if _RWX in given:
        return csi_mode(_RWX, multi_writer=multi_writer)
    if {_ROX, _RWO} <= given:
        raise ReconcileError("CSI does not support ReadOnlyMany and ReadWriteOnce on the same PersistentVolume")
    if not given:
        raise ReconcileError("the PersistentVolume has no access modes")
    return csi_mode(next(iter(given)), multi_writer=multi_writer)


def capability_of(volume: PersistentVolume, mode: str) -> VolumeCapability:
    """The capability of a CSI volume: block, or mount with its file system and mount options."""
    access = AccessMode(mode=mode)
    if volume_mode_of(volume) == "Block":
        return VolumeCapability(block=BlockVolume(), access_mode=access)
    spec = volume.spec
    fs_type = (spec.csi.fsType if spec and spec.csi else None) or ""
    flags = list((spec.mountOptions if spec else None) or [])
    return VolumeCapability(mount=MountVolume(fs_type=fs_type, mount_flags=flags), access_mode=access)


def rpc_types(response: Any) -> frozenset[str]:
    """Names of the RPC capabilities in a ControllerGetCapabilities or NodeGetCapabilities answer."""
    return frozenset(entry.rpc.type for entry in response.capabilities if entry.rpc is not None)
