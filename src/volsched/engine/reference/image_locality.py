"""ImageLocality: prefer nodes that hold the pod's images already, the more so the more nodes hold them.

Source: pkg/scheduler/framework/plugins/imagelocality; spec/scheduling.md 8.10.
"""

from __future__ import annotations

from typing import ClassVar, Final

from volsched.engine.reference.framework import SCORE_MAX, NodeInfo, Plugin
from volsched.rules.numbers import int64_of, quotient, wrap64

_MEBIBYTE: Final = 1024 * 1024
_SUM_BYTES_MIN: Final = 23 * _MEBIBYTE
_CONTAINER_BYTES_MAX: Final = 1000 * _MEBIBYTE


def normalized_image_name(name: str) -> str:
    """The name with `:latest` where it carries no tag; a colon before the last slash belongs to a registry's port."""
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"


class ImageLocality(Plugin):
    name: ClassVar[str] = "ImageLocality"

    def _images(self) -> list[str]:
        containers = [*(self.spec.initContainers or ()), *(self.spec.containers or ())]
        volumes = [volume.image for volume in self.spec.volumes or () if volume.image is not None]
        return [container.image or "" for container in containers] + [image.reference or "" for image in volumes]

    def score(self, node: NodeInfo) -> int:
        images = self._images()
        total = 0
        for name in images:
            state = node.images.get(normalized_image_name(name))
            if state is not None:
                spread = float(state.node_count) / float(len(self.snapshot.nodes))
                total = wrap64(total + int64_of(float(state.size_bytes) * spread))
        highest = _CONTAINER_BYTES_MAX * len(images)
        # raised to the minimum first: without any image the maximum is below it and does not count
        total = _SUM_BYTES_MIN if total < _SUM_BYTES_MIN else min(total, highest)
        return quotient(SCORE_MAX * (total - _SUM_BYTES_MIN), highest - _SUM_BYTES_MIN)
