"""From a claim and its class to a CreateVolume request, and from the answer to a PersistentVolume.

`Preparation.run` makes the checks in the specification's order; each stops the attempt with a `Refusal` whose state the check decides.
Nothing is done at the driver here; the only write is the finalizer on a data source.

Source: spec/volumes.md 3.3, 3.5, 3.6, 3.11; external-provisioner pkg/controller/controller.go (prepareProvision, Provision).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lightkube.models.core_v1 import (
    CSIPersistentVolumeSource,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeSpec,
    SecretReference,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.storage_v1 import StorageClass, VolumeAttributesClass

from volsched.api.csi import (
    AccessMode,
    BlockVolume,
    CapacityRange,
    CreateVolumeRequest,
    MountVolume,
    TopologyRequirement,
    Volume,
    VolumeCapability,
    VolumeContentSource,
)
from volsched.api.edit import annotations_of, uid_of
from volsched.api.kinds import meta
from volsched.api.quantity import Quantity
from volsched.cache.view import View
from volsched.controllers.csi_common import CSI_PREFIX, SecretParams, read_credentials, secret_reference
from volsched.controllers.driver_info import DriverInfo
from volsched.controllers.provisioner_options import (
    CONTROLLER_EXPAND_SECRET,
    CONTROLLER_MODIFY_SECRET,
    CONTROLLER_PUBLISH_SECRET,
    DEFAULT_SECRET,
    DELETION_SECRET_NAME,
    DELETION_SECRET_NAMESPACE,
    FS_TYPE_PARAMETER,
    IDENTITY_ATTRIBUTE,
    KNOWN_PARAMETERS,
    MODIFY_SECRET_NAME,
    MODIFY_SECRET_NAMESPACE,
    NODE_EXPAND_SECRET,
    NODE_PUBLISH_SECRET,
    NODE_STAGE_SECRET,
    PROVISIONER_SECRET,
    PV_FINALIZER,
    ProvisionerOptions,
    volume_name,
)
from volsched.controllers.provisioner_source import (
    CLAIM,
    SNAPSHOT,
    DataSource,
    check_granted,
    content_source,
    data_source_of,
    protect_source,
)
from volsched.controllers.provisioner_tables import Check, Refusal
from volsched.controllers.provisioner_topology import (
    ClaimMemory,
    Cluster,
    TopologyWish,
    accessibility_requirements,
    volume_node_affinity,
)
from volsched.errors import ApiError, NotFoundError, ReconcileError
from volsched.ports import Read, Steps
from volsched.rules.volumes import ANN_PROVISIONED_BY, attributes_class_of, class_of, requested_storage, volume_mode_of

BLOCK: Final = "Block"

# fmt: off
_ACCESS_MODES: Final[Mapping[str, tuple[str, str]]] = {
    # in Kubernetes      without SINGLE_NODE_MULTI_WRITER  with it
    "ReadWriteOnce":     ("SINGLE_NODE_WRITER",            "SINGLE_NODE_MULTI_WRITER"),
    "ReadOnlyMany":      ("MULTI_NODE_READER_ONLY",        "MULTI_NODE_READER_ONLY"),
    "ReadWriteMany":     ("MULTI_NODE_MULTI_WRITER",       "MULTI_NODE_MULTI_WRITER"),
    "ReadWriteOncePod":  ("SINGLE_NODE_WRITER",            "SINGLE_NODE_SINGLE_WRITER"),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class VolumeSecrets:
    """Secrets named by the class. Only the provisioner's is read here; the others become references in the volume."""

    provisioner: SecretReference | None
    controller_publish: SecretReference | None
    node_stage: SecretReference | None
    node_publish: SecretReference | None
    controller_expand: SecretReference | None
    node_expand: SecretReference | None
    controller_modify: SecretReference | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything an attempt needs: the request to send and what the volume will say besides the answer."""

    request: CreateVolumeRequest
    fs_type: str
    secrets: VolumeSecrets


def resolve_secret(slot: SecretParams, parameters: Mapping[str, str], claim: PersistentVolumeClaim, name: str) -> SecretReference | None:
    """The secret a class names for one operation, or its default one. Raises ReconcileError."""
    metadata = meta(claim)
    shared = {"pv.name": name, "pvc.namespace": metadata.namespace or ""}
    notes = {f"pvc.annotations['{key}']": value for key, value in annotations_of(claim).items()}
    return secret_reference(
        (slot, DEFAULT_SECRET), parameters, name_tokens={**shared, "pvc.name": metadata.name or "", **notes}, namespace_tokens=shared
    )


def strip_parameters(parameters: Mapping[str, str]) -> dict[str, str]:
    """Class parameters as CreateVolume gets them. Raises Refusal for an unknown key with the reserved prefix."""
    kept: dict[str, str] = {}
    for key, value in parameters.items():
        if not key.startswith(CSI_PREFIX):
            kept[key] = value
        elif key not in KNOWN_PARAMETERS:
            text = f'found unknown parameter key "{key}" with reserved namespace {CSI_PREFIX}'
            raise Refusal(Check.PARAMETERS, f"failed to strip CSI Parameters of prefixed keys: {text}")
    return kept


def fs_type_of(parameters: Mapping[str, str], default: str) -> str:
    """File system named by the parameters. Raises Refusal when two keys name one."""
    named = [value for key, value in parameters.items() if key.lower() == "fstype" or key == FS_TYPE_PARAMETER]
    if len(named) > 1:
        raise Refusal(Check.FS_TYPE, f'fstype specified in parameters with both "fstype" and "{FS_TYPE_PARAMETER}" keys')
    return (named[0] if named else "") or default


def capabilities_of(claim: PersistentVolumeClaim, storage_class: StorageClass, fs_type: str, info: DriverInfo) -> list[VolumeCapability]:
    """One capability for each access mode of the claim. Raises Refusal for a mode CSI does not know."""
    multi_writer = "SINGLE_NODE_MULTI_WRITER" in info.controller
    found: list[VolumeCapability] = []
    for mode in (claim.spec.accessModes if claim.spec else None) or []:
        if mode not in _ACCESS_MODES:
            raise Refusal(Check.ACCESS_MODES, f"unsupported access mode: {mode}")
        access_mode = AccessMode(mode=_ACCESS_MODES[mode][multi_writer])
        if volume_mode_of(claim) == BLOCK:
            found.append(VolumeCapability(block=BlockVolume(), access_mode=access_mode))
        else:
            mount = MountVolume(fs_type=fs_type, mount_flags=list(storage_class.mountOptions or []))
            found.append(VolumeCapability(mount=mount, access_mode=access_mode))
    return found


class Preparation:
    """Checks and request building; one for a provisioner, since driver and flags do not change."""

    def __init__(self, view: View, cluster: Cluster, info: DriverInfo, options: ProvisionerOptions) -> None:
        self._view = view
        self._cluster = cluster
        self._info = info
        self._options = options

    def run(self, claim: PersistentVolumeClaim, storage_class: StorageClass, *, selected_node: str, memory: ClaimMemory) -> Steps[Prepared]:
        """Checks 2 to 15 for a claim. Raises Refusal, and nothing else."""
        options, parameters = self._options, storage_class.parameters or {}
        source = data_source_of(claim, cross_namespace=options.cross_namespace_volume_data_source)
        if source is not None:
            yield from check_granted(claim, source)
        self._check_capabilities(claim, source)
        if claim.spec is not None and claim.spec.selector is not None:
            raise Refusal(Check.SELECTOR, "claim Selector is not supported")
        if not uid_of(claim):
            raise Refusal(Check.NAME, "corrupted PVC object, it is missing UID")
        name = volume_name(options, uid_of(claim))
        fs_type = fs_type_of(parameters, options.default_fstype)
        capabilities = capabilities_of(claim, storage_class, fs_type, self._info)
        filled_from: VolumeContentSource | None = None
        if source is not None:
            prevent = options.prevent_volume_mode_conversion
            filled_from = yield from content_source(self._view, claim, storage_class, source, prevent_mode_conversion=prevent)
            yield from protect_source(self._view, source)
        requirements = self.requirements(claim, storage_class, selected_node, memory)
        secrets, credentials = yield from self._secrets(claim, parameters, name)
        sent = strip_parameters(parameters)
        if options.extra_create_metadata:
            sent[CSI_PREFIX + "pvc/name"] = meta(claim).name or ""
            sent[CSI_PREFIX + "pvc/namespace"] = meta(claim).namespace or ""
            sent[CSI_PREFIX + "pv/name"] = name
        mutable = yield from self._mutable_parameters(attributes_class_of(claim))
        request = CreateVolumeRequest(
            name=name,
            capacity_range=CapacityRange(required_bytes=requested_storage(claim).value()),
            volume_capabilities=capabilities,
            parameters=sent,
            secrets=credentials,
            volume_content_source=filled_from,
            accessibility_requirements=requirements,
            mutable_parameters=mutable,
        )
        return Prepared(request, fs_type, secrets)

    def _check_capabilities(self, claim: PersistentVolumeClaim, source: DataSource | None) -> None:
        info = self._info
        if "CONTROLLER_SERVICE" not in info.plugin:
            text = "CSI driver does not support dynamic provisioning: plugin CONTROLLER_SERVICE capability is not reported"
            raise Refusal(Check.CAPABILITIES, text)
        # fmt: off
        wanted = (
            (True,                                           "CREATE_DELETE_VOLUME",   "dynamic provisioning"),
            (source is not None and source.kind == SNAPSHOT, "CREATE_DELETE_SNAPSHOT", "snapshot restore"),
            (source is not None and source.kind == CLAIM,    "CLONE_VOLUME",           "clone operations"),
            (bool(attributes_class_of(claim)),               "MODIFY_VOLUME",          "VolumeAttributesClass"),
        )
        # fmt: on
        for needed, capability, what in wanted:
            if needed and capability not in info.controller:
                text = f"CSI driver does not support {what}: controller {capability} capability is not reported"
                raise Refusal(Check.CAPABILITIES, text)

    def requirements(
        self, claim: PersistentVolumeClaim, storage_class: StorageClass, selected_node: str, memory: ClaimMemory
    ) -> TopologyRequirement | None:
        """Check 12: where the volume has to be reachable; None for anywhere. Raises Refusal."""
        if not self._info.has_topology:
            return None
        wish = TopologyWish(
            driver=self._info.name,
            claim_name=meta(claim).name or "",
            selected_node=selected_node,
            allowed=storage_class.allowedTopologies or (),
            strict=self._options.strict_topology,
            immediate_topology=self._options.immediate_topology,
        )
        try:
            return accessibility_requirements(wish, self._cluster, memory)
        except NotFoundError as problem:
            raise Refusal(Check.TOPOLOGY_NODE_GONE, problem) from None
        except ReconcileError as problem:
            raise Refusal(Check.TOPOLOGY, f"error generating accessibility requirements: {problem}") from None

    def _secrets(
        self, claim: PersistentVolumeClaim, parameters: Mapping[str, str], name: str
    ) -> Steps[tuple[VolumeSecrets, dict[str, str]]]:
        try:
            provisioner = resolve_secret(PROVISIONER_SECRET, parameters, claim, name)
            credentials = yield from read_credentials(provisioner)
            rest = [
                resolve_secret(slot, parameters, claim, name)
                for slot in (
                    CONTROLLER_PUBLISH_SECRET,
                    NODE_STAGE_SECRET,
                    NODE_PUBLISH_SECRET,
                    CONTROLLER_EXPAND_SECRET,
                    NODE_EXPAND_SECRET,
                    CONTROLLER_MODIFY_SECRET,
                )
            ]
        except ReconcileError as problem:
            raise Refusal(Check.SECRETS, problem) from None
        return VolumeSecrets(provisioner, *rest), credentials

    def _mutable_parameters(self, attributes_class: str) -> Steps[dict[str, str]]:
        if not attributes_class:
            return {}
        try:
            found: VolumeAttributesClass = yield Read("VolumeAttributesClass", "", attributes_class)
        except ApiError as problem:
            raise Refusal(Check.ATTRIBUTES_READ, problem) from None
        if found.driverName != self._info.name:
            text = f"VAC {attributes_class} referenced in PVC is for driver {found.driverName}"
            raise Refusal(Check.ATTRIBUTES_DRIVER, f"{text} which does not match driver name {self._info.name}")
        return dict(found.parameters or {})


def build_volume(
    claim: PersistentVolumeClaim,
    storage_class: StorageClass,
    prepared: Prepared,
    volume: Volume,
    *,
    info: DriverInfo,
    options: ProvisionerOptions,
    identity: str,
) -> PersistentVolume:
    """The PersistentVolume for what the driver made. Binding is completed by the PV controller, through the claimRef."""
    secrets, request = prepared.secrets, prepared.request
    block = volume_mode_of(claim) == BLOCK
    modes = [item.access_mode.mode for item in request.volume_capabilities if item.access_mode is not None]
    read_only = modes == ["MULTI_NODE_READER_ONLY"] and options.controller_publish_readonly
    annotations = {
        ANN_PROVISIONED_BY: storage_class.provisioner,
        DELETION_SECRET_NAME: (secrets.provisioner.name if secrets.provisioner else None) or "",
        DELETION_SECRET_NAMESPACE: (secrets.provisioner.namespace if secrets.provisioner else None) or "",
    }
    if secrets.controller_modify is not None:
        annotations[MODIFY_SECRET_NAME] = secrets.controller_modify.name or ""
        annotations[MODIFY_SECRET_NAMESPACE] = secrets.controller_modify.namespace or ""
    required_bytes = request.capacity_range.required_bytes if request.capacity_range else 0
    metadata = meta(claim)
    return PersistentVolume(
        apiVersion="v1",
        kind="PersistentVolume",
        metadata=ObjectMeta(name=request.name, annotations=annotations, finalizers=[PV_FINALIZER]),
        spec=PersistentVolumeSpec(
            accessModes=list((claim.spec.accessModes if claim.spec else None) or []),
            capacity={"storage": str(Quantity.of_bytes(volume.capacity_bytes or required_bytes))},
            claimRef=ObjectReference(
                apiVersion="v1",
                kind="PersistentVolumeClaim",
                namespace=metadata.namespace,
                name=metadata.name,
                uid=metadata.uid,
                resourceVersion=metadata.resourceVersion,
            ),
            csi=CSIPersistentVolumeSource(
                driver=info.name,
                volumeHandle=volume.volume_id,
                volumeAttributes={IDENTITY_ATTRIBUTE: identity, **volume.volume_context},
                fsType=None if block else prepared.fs_type or None,
                readOnly=read_only or None,
                controllerPublishSecretRef=secrets.controller_publish,
                nodeStageSecretRef=secrets.node_stage,
                nodePublishSecretRef=secrets.node_publish,
                controllerExpandSecretRef=secrets.controller_expand,
                nodeExpandSecretRef=secrets.node_expand,
            ),
            mountOptions=list(storage_class.mountOptions) if storage_class.mountOptions else None,
            nodeAffinity=volume_node_affinity(volume.accessible_topology) if info.has_topology else None,
            persistentVolumeReclaimPolicy=storage_class.reclaimPolicy,
            storageClassName=class_of(claim) or None,
            volumeAttributesClassName=attributes_class_of(claim) or None,
            volumeMode=claim.spec.volumeMode if claim.spec else None,
        ),
    )
