"""What kube-controller-manager can do with a released volume by itself: delete host paths, empty host paths and NFS exports.

Files are not simulated here, so whatever a plugin is allowed to do succeeds at once; no recycler pod is run for it.
Source: cmd/kube-controller-manager/app/plugins.go, pkg/volume/hostpath, pkg/volume/nfs; spec/volumes.md 1.8.1.
"""

from __future__ import annotations

import re
from typing import Final

from lightkube.models.core_v1 import PersistentVolume

from volsched.api.kinds import meta

_DELETABLE_PATH: Final = re.compile("/tmp/.+")  # looked for anywhere in the path, as the plugin does


def deletion_problem(volume: PersistentVolume) -> str | None:
    """Why a released volume with policy Delete cannot be deleted in the tree; None when it can."""
    host_path = volume.spec.hostPath if volume.spec else None
    if host_path is None:
        return f'error getting deleter volume plugin for volume "{meta(volume).name}": no deletable volume plugin matched'
    if _DELETABLE_PATH.search(host_path.path) is None:
        return f"host_path deleter only supports /tmp/.+ but received provided {host_path.path}"
    return None


def is_recyclable(volume: PersistentVolume) -> bool:
    """Whether a released volume with policy Recycle can be emptied for the next claim."""
    return volume.spec is not None and (volume.spec.hostPath is not None or volume.spec.nfs is not None)
