"""Reasons of the binder's events; part of Kubernetes' interface. Source: pkg/controller/volume/events/event.go."""

from __future__ import annotations

from typing import Final

FAILED_BINDING: Final = "FailedBinding"
VOLUME_MISMATCH: Final = "VolumeMismatch"
VOLUME_FAILED_RECYCLE: Final = "VolumeFailedRecycle"
VOLUME_RECYCLED: Final = "VolumeRecycled"
RECYCLER_POD: Final = "RecyclerPod"
VOLUME_DELETE: Final = "VolumeDelete"
VOLUME_FAILED_DELETE: Final = "VolumeFailedDelete"
VOLUME_UNKNOWN_RECLAIM_POLICY: Final = "VolumeUnknownReclaimPolicy"
EXTERNAL_PROVISIONING: Final = "ExternalProvisioning"
PROVISIONING_FAILED: Final = "ProvisioningFailed"
PROVISIONING_CLEANUP_FAILED: Final = "ProvisioningCleanupFailed"
PROVISIONING_SUCCEEDED: Final = "ProvisioningSucceeded"
WAIT_FOR_FIRST_CONSUMER: Final = "WaitForFirstConsumer"
WAIT_FOR_POD_SCHEDULED: Final = "WaitForPodScheduled"
EXTERNAL_EXPANDING: Final = "ExternalExpanding"
CLAIM_LOST: Final = "ClaimLost"
CLAIM_MISBOUND: Final = "ClaimMisbound"
