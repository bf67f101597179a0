"""Flags and fixed names of the provisioner. Source: spec/volumes.md 1.2, 2, 3.1, 3.5, 3.11; external-provisioner cmd/csi-provisioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lightkube.models.meta_v1 import OwnerReference

from volsched.controllers.csi_common import CSI_PREFIX, SecretParams

PV_FINALIZER: Final = "external-provisioner.volume.kubernetes.io/finalizer"
CLONE_FINALIZER: Final = "provisioner.storage.kubernetes.io/cloning-protection"
IDENTITY_ATTRIBUTE: Final = "storage.kubernetes.io/csiProvisionerIdentity"
ALPHA_SELECTED_NODE: Final = "volume.alpha.kubernetes.io/selected-node"
DELETION_SECRET_NAME: Final = "volume.kubernetes.io/provisioner-deletion-secret-name"
DELETION_SECRET_NAMESPACE: Final = "volume.kubernetes.io/provisioner-deletion-secret-namespace"
MODIFY_SECRET_NAME: Final = "volume.kubernetes.io/controller-modify-secret-name"
MODIFY_SECRET_NAMESPACE: Final = "volume.kubernetes.io/controller-modify-secret-namespace"
FS_TYPE_PARAMETER: Final = CSI_PREFIX + "fstype"

INFEASIBLE_DELAY_S: Final = 300.0


def _secret(label: str, operation: str, deprecated: str = "") -> SecretParams:
    name = f"{CSI_PREFIX}{operation}secret"
    if not deprecated:
        return SecretParams(label, f"{name}-name", f"{name}-namespace")
    return SecretParams(label, f"{name}-name", f"{name}-namespace", f"{deprecated}SecretName", f"{deprecated}SecretNamespace")


DEFAULT_SECRET: Final = _secret("default", "")
PROVISIONER_SECRET: Final = _secret("Provisioner", "provisioner-", "csiProvisioner")
CONTROLLER_PUBLISH_SECRET: Final = _secret("ControllerPublish", "controller-publish-", "csiControllerPublish")
NODE_STAGE_SECRET: Final = _secret("NodeStage", "node-stage-", "csiNodeStage")
NODE_PUBLISH_SECRET: Final = _secret("NodePublish", "node-publish-", "csiNodePublish")
CONTROLLER_EXPAND_SECRET: Final = _secret("ControllerExpand", "controller-expand-")
NODE_EXPAND_SECRET: Final = _secret("NodeExpand", "node-expand-")
CONTROLLER_MODIFY_SECRET: Final = _secret("ControllerModify", "controller-modify-")
_ALL_SECRETS: Final = (
    DEFAULT_SECRET,
    PROVISIONER_SECRET,
    CONTROLLER_PUBLISH_SECRET,
    NODE_STAGE_SECRET,
    NODE_PUBLISH_SECRET,
    CONTROLLER_EXPAND_SECRET,
    NODE_EXPAND_SECRET,
    CONTROLLER_MODIFY_SECRET,
)
KNOWN_PARAMETERS: Final = frozenset({FS_TYPE_PARAMETER, *(key for slot in _ALL_SECRETS for key in (slot.name_key, slot.namespace_key))})


@dataclass(frozen=True, slots=True)
class ProvisionerOptions:
    """Flags, with upstream's defaults. `identity` marks volumes with the process that made them; empty: made at start.

    cross_namespace_volume_data_source: the feature gate CrossNamespaceVolumeDataSource, alpha. A claim may then be filled from a source in
    another namespace, where a ReferenceGrant allows it.
    node: the node this process is for (node deployment); empty serves all. With it an Immediate claim goes to the node that writes itself
    into it first, unless `node_deployment_immediate_binding` leaves such claims alone.
    """

    strict_topology: bool = False
    immediate_topology: bool = True
    volume_name_prefix: str = "pvc"
    volume_name_uuid_length: int = -1
    timeout_s: float = 10.0
    retry_interval_start_s: float = 1.0
    retry_interval_max_s: float = 300.0
    worker_threads: int = 100
    extra_create_metadata: bool = False
    default_fstype: str = ""
    enable_capacity: bool = False
    capacity_poll_interval_s: float = 60.0
    capacity_for_immediate_binding: bool = False
    capacity_namespace: str = "default"
    capacity_owner: OwnerReference | None = None
    controller_publish_readonly: bool = False
    prevent_volume_mode_conversion: bool = True
    snapshot_orphan_sweep_interval_s: float = 300.0
    cross_namespace_volume_data_source: bool = False
    node: str = ""
    node_deployment_immediate_binding: bool = True
    node_deployment_base_delay_s: float = 20.0
    node_deployment_max_delay_s: float = 60.0
    identity: str = ""


def volume_name(options: ProvisionerOptions, claim_uid: str) -> str:
    """Name of the volume made for a claim, at the driver and as a PersistentVolume."""
    length = options.volume_name_uuid_length
    return f"{options.volume_name_prefix}-{claim_uid if length < 0 else claim_uid.replace('-', '')[:length]}"
