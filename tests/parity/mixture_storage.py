"""The storage half of `mixture`: volumes of every source, claims in every state, classes, drivers, capacities, attachments."""

from __future__ import annotations

from typing import Any, Final

from lightkube.models.core_v1 import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    AzureFileVolumeSource,
    CinderPersistentVolumeSource,
    CinderVolumeSource,
    CSIVolumeSource,
    EmptyDirVolumeSource,
    EphemeralVolumeSource,
    GCEPersistentDiskVolumeSource,
    HostPathVolumeSource,
    ISCSIVolumeSource,
    PersistentVolumeClaimStatus,
    PersistentVolumeClaimTemplate,
    PersistentVolumeClaimVolumeSource,
    Pod,
    PortworxVolumeSource,
    RBDVolumeSource,
    Volume,
    VsphereVirtualDiskVolumeSource,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement
from lightkube.models.storage_v1 import VolumeAttachmentSource

from tests.builders import (
    REGION,
    ZONE,
    make_attachment,
    make_capacity,
    make_claim_spec,
    make_class,
    make_csidriver,
    make_csinode,
    make_owner,
    make_pv,
)
from tests.parity.clusters import BETA_ZONE, CLASSES, DELETED, DRIVERS, SIZES, ZONES, Draw
from volsched.api.kinds import Object

IN_TREE: Final = ("aws-ebs", "gce-pd", "cinder", "azure-disk", "portworx-volume", "azure-file", "vsphere-volume", "host-path")
MIGRATED_DRIVERS: Final = ("pd.csi.storage.gke.io", "cinder.csi.openstack.org", "disk.csi.azure.com", "pxd.portworx.com")
ODD_SIZES: Final = ("1e9", "0.5Gi", "1e3", "12e7", "0", "3.7Gi", "1E", "100E", "500m")
EBS_IDS: Final = ("vol-1", "vol-2", "aws://z1/vol-1", "aws:///vol-3", "aws://z1/disk")
MODES: Final = (["ReadWriteOnce"], ["ReadWriteOnce"], ["ReadWriteOnce", "ReadOnlyMany"], ["ReadWriteMany"], ["ReadWriteOncePod"])


class MixedStorage(Draw):
    """Draws storage. Subclasses say which families are about."""

    families: frozenset[str] = frozenset()

    def now(self, family: str, percent: int) -> bool:
        raise NotImplementedError

    def size(self) -> str | None:
        return self.one(*ODD_SIZES) if self.now("edges", 12) else self.one(*SIZES)

    def driver(self) -> str:
        return self.one(*DRIVERS, *MIGRATED_DRIVERS) if self.now("in-tree", 40) else self.one(*DRIVERS)

    # Drivers and classes

    def csi_node(self, number: int) -> Object:
        drivers = {name: self.one(None, 0, 1, 2, 4) if self.now("limits", 60) else None for name in DRIVERS if self.maybe(80)}
        if self.now("in-tree", 60):
            drivers |= {name: self.one(None, 1, 2) if self.now("limits", 60) else None for name in MIGRATED_DRIVERS if self.maybe(60)}
        migrated = [f"kubernetes.io/{name}" for name in IN_TREE if self.now("in-tree", 60)]
        return make_csinode(f"node{number}", drivers=drivers, migrated=migrated)

    def drivers(self) -> list[Object]:
        names = (*DRIVERS, *(MIGRATED_DRIVERS if self.now("in-tree", 50) else ()))
        return [
            make_csidriver(
                name,
                storage_capacity=self.one(True, True, False, None),
                prevent_if_missing=self.one(True, None) if self.now("limits", 30) else None,
            )
            for name in names
            if self.maybe(75)
        ]

    def storage_class(self, name: str) -> Object:
        provisioners = (*DRIVERS, *DRIVERS, "kubernetes.io/no-provisioner")
        if self.now("in-tree", 30):
            provisioners = tuple(f"kubernetes.io/{item}" for item in IN_TREE)
        allowed = [self.allowed_term() for _ in range(self.one(1, 1, 2))] if self.now("zones", 30) else []
        return make_class(name, provisioner=self.one(*provisioners), wait=self.maybe(93), allowed=allowed)

    def allowed_term(self) -> dict[str, list[str]]:
        keys = (ZONE, ZONE, BETA_ZONE, "rack", "topology.ebs.csi.aws.com/zone")
        values = {ZONE: ZONES, BETA_ZONE: ZONES, "rack": ("r1", "r2"), "topology.ebs.csi.aws.com/zone": ZONES}
        term = {}
        for _ in range(self.one(1, 1, 2, 0 if self.now("odd", 30) else 1)):
            key = self.one(*keys)
            term[key] = [self.one(*values[key]) for _ in range(self.one(1, 2, 3, 0 if self.now("odd", 20) else 2))]
        return term

    def capacity(self, number: int) -> Object:
        wanted = LabelSelectorRequirement(key=self.one(ZONE, "rack"), operator=self.one("In", "NotIn", "Exists", "DoesNotExist"))
        wanted.values = [self.one("z1", "z2", "r1")] if wanted.operator in ("In", "NotIn") else None
        if self.now("odd", 8):
            wanted.operator = "Gt"
        amount = self.one(*ODD_SIZES) if self.now("edges", 15) else self.one("1Gi", "5Gi", "100Gi")
        maximum = self.one(None, None, "2Gi", "10Gi")
        if self.maybe(3):
            amount, maximum = None, "100Gi" if self.maybe(20) else None  # upstream dies on a maximum alone, when it scores by it
        return make_capacity(
            f"capacity{number}",
            namespace=self.one("default", "other"),
            storage_class=self.one(*CLASSES),
            capacity=amount,
            maximum=maximum,
            where=self.one(None, {}, {}, {ZONE: self.one(*ZONES)}, {"rack": "r1"}),
            topology=LabelSelector(matchExpressions=[wanted]) if self.maybe(25) else None,
        )

    # Claims and volumes

    def claim_selector(self) -> LabelSelector | None:
        if self.now("odd", 5):
            return LabelSelector(matchExpressions=[LabelSelectorRequirement(key="tier", operator="Gt", values=["1"])])
        return self.label_selector()

    def claim(self, name: str, **rest: Any) -> Object:
        made: Any = super().claim(name, **rest)
        spec, notes = made.spec, made.metadata.annotations or {}
        if spec.resources is not None:
            spec.resources.requests = {"storage": self.size()}
        spec.selector = self.claim_selector() if self.maybe(12) else None
        spec.volumeAttributesClassName = self.one("gold", "", None) if self.now("odd", 20) else None
        if spec.storageClassName == "gone" and self.maybe(60):
            spec.storageClassName = self.one(*CLASSES)
        if self.now("odd", 6):
            notes["volume.beta.kubernetes.io/storage-class"] = self.one(*CLASSES, "")
            if self.maybe(80) or not rest.get("bound_to"):
                spec.storageClassName = spec.storageClassName or "c1"  # upstream dies on the annotation alone, when it scores by it
        if rest.get("bound_to") is None and self.now("odd", 4):
            spec.volumeName = "free0"
        if self.now("odd", 2):
            made.status = PersistentVolumeClaimStatus(phase="Lost")
        made.metadata.annotations = notes or None
        return made  # type: ignore[no-any-return]

    def source(self, name: str) -> dict[str, Any]:
        """A source that is not the driver's own; empty for that one."""
        if not self.now("in-tree", 45):
            return {}
        disk = AzureDiskVolumeSource(diskName=name, diskURI=f"/disks/{name}", kind=self.one("Managed", "Managed", "Dedicated", None))
        sources: dict[str, Any] = {
            "awsElasticBlockStore": AWSElasticBlockStoreVolumeSource(volumeID=self.one(*EBS_IDS, f"vol-{name}")),
            "gcePersistentDisk": GCEPersistentDiskVolumeSource(pdName=self.one("a", name)),
            "cinder": CinderPersistentVolumeSource(volumeID=self.one("c-1", name)),
            "azureDisk": disk,
            "portworxVolume": PortworxVolumeSource(volumeID=name),
            "vsphereVolume": VsphereVirtualDiskVolumeSource(volumePath=f"[store] {name}"),
            "hostPath": HostPathVolumeSource(path=f"/data/{name}"),
        }
        chosen = self.one(*sources)
        return {"csi": None, chosen: sources[chosen]}

    def volume_labels(self) -> dict[str, str]:
        rows = (
            (ZONE, self.one(*ZONES, "z1__z2", "z1__", "z1__z3"), 20),
            (BETA_ZONE, self.one(*ZONES, "z1__z2", "us-a-1__us-a-2", "us-a-1__us-b-2"), 20),
            (REGION, self.one("r", "s", "r__s"), 10),
            ("failure-domain.beta.kubernetes.io/region", "r", 8),
            ("tier", self.one("a", "b"), 40),
        )
        return {key: value for key, value, percent in rows if (key == "tier" or "zones" in self.families) and self.maybe(percent)}

    def volume(self, name: str, **rest: Any) -> Object:
        return make_pv(
            name,
            size=self.size(),
            storage_class=self.one(*CLASSES),
            modes=self.one(*MODES),
            volume_mode=self.one(None, None, None, None, "Block"),
            affinity=self.node_selector() if self.maybe(50) else None,
            labels=self.volume_labels(),
            driver=self.driver(),
            handle=self.one(f"handle-{name}", f"handle-{name}", "shared"),
            attributes_class=self.one("gold", "", None) if self.now("odd", 20) else None,
            deleted=DELETED if self.now("odd", 5) else None,
            annotations={"volume.beta.kubernetes.io/storage-class": self.one(*CLASSES)} if self.now("odd", 5) else None,
            spec=self.source(name),
            **rest,
        )

    def storage(self) -> list[Object]:
        made: list[Object] = [*self.drivers(), *(self.storage_class(name) for name in CLASSES)]
        made += [self.capacity(number) for number in range(self.one(0, 2, 6, 12) if "capacity" in self.families else 0)]
        for name in self.claims:
            if self.maybe(45):
                made.append(self.claim(name, bound_to=f"bound-{name}"))
                if self.maybe(97):
                    made.append(self.volume(f"bound-{name}", claim=f"default/{name}", claim_uid=f"uid-{name}"))
            elif self.maybe(97):
                made.append(self.claim(name))
        made += [self.free_volume(number) for number in range(self.chance.randrange(2 * self.nodes + 1))]
        made += [self.attachment(number) for number in range(self.chance.randrange(self.nodes + 1) if "limits" in self.families else 0)]
        return made

    def free_volume(self, number: int) -> Object:
        reserved: dict[str, Any] = {}
        if self.maybe(12):
            claim = self.one(*self.claims)
            uid = self.one(None, None, f"uid-{claim}", "uid-of-another")
            reserved = {"claim": f"{self.one('default', 'default', 'other')}/{claim}", "claim_uid": uid}
        phase = self.one(*["Available"] * 6, "Pending", "Released", "Bound", None)
        return self.volume(f"free{number}", phase=phase, **reserved)

    def attachment(self, number: int) -> Object:
        volume = self.one(*[f"bound-{claim}" for claim in self.claims], "free0", "gone")
        made: Any = make_attachment(f"attachment{number}", volume=volume, node=self.node_name(), attacher=self.driver())
        if self.now("odd", 10):
            made.spec.source = VolumeAttachmentSource(inlineVolumeSpec=make_pv(driver=self.driver()).spec)
        return made  # type: ignore[no-any-return]

    def node_name(self) -> str:
        return f"node{self.chance.randrange(self.nodes)}"

    # Volumes of pods

    def inline(self) -> Volume:
        read_only = self.one(True, False, None)
        return self.one(
            Volume(name="gce", gcePersistentDisk=GCEPersistentDiskVolumeSource(pdName=self.one("a", "b"), readOnly=read_only)),
            Volume(name="ebs", awsElasticBlockStore=AWSElasticBlockStoreVolumeSource(volumeID=self.one(*EBS_IDS), readOnly=read_only)),
            Volume(
                name="iscsi", iscsi=ISCSIVolumeSource(iqn=self.one("iqn.a", "iqn.b"), lun=0, targetPortal="10.0.0.1", readOnly=read_only)
            ),
            Volume(
                name="rbd",
                rbd=RBDVolumeSource(
                    image=self.one("i", "j"),
                    monitors=self.one(["m1"], ["m1", "m2"], ["m3"]),
                    pool=self.one(None, "rbd", "p"),
                    readOnly=read_only,
                ),
            ),
            Volume(name="cinder", cinder=CinderVolumeSource(volumeID=self.one("c-1", "c-2"))),
            Volume(
                name="azure", azureDisk=AzureDiskVolumeSource(diskName="d", diskURI="/disks/d", kind=self.one("Managed", "Managed", None))
            ),
            Volume(name="portworx", portworxVolume=PortworxVolumeSource(volumeID=self.one("p-1", "p-2"))),
            Volume(name="files", azureFile=AzureFileVolumeSource(secretName="s", shareName="t")),
            Volume(name="vsphere", vsphereVolume=VsphereVirtualDiskVolumeSource(volumePath="[store] v")),
            Volume(name="csi", csi=CSIVolumeSource(driver=self.driver())),
            Volume(name="path", hostPath=HostPathVolumeSource(path="/data")),
        )

    def volumes(self, *, placed: bool) -> list[Volume]:
        made: list[Volume] = []
        if self.now("claims", 50 if placed else 75):
            for number in range(self.one(1, 1, 1, 2, 3)):
                name = "missing" if self.maybe(1) else self.one(*self.claims)
                made.append(Volume(name=f"claim{number}", persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=name)))
        if self.now("inline", 20):
            made += [self.inline() for _ in range(self.one(1, 1, 2))]
        if self.now("ephemeral", 15):
            template = PersistentVolumeClaimTemplate(spec=make_claim_spec(storage_class=self.one(*CLASSES)))
            made.append(Volume(name="tmp", ephemeral=EphemeralVolumeSource(volumeClaimTemplate=template)))
        if self.maybe(15):
            made.append(Volume(name="scratch", emptyDir=EmptyDirVolumeSource(sizeLimit=self.one(None, "1Gi", "1e9"))))
        return made

    def ephemeral_claims(self, pod: Pod) -> list[Object]:
        """The claims of a pod's ephemeral volumes, as the controller would have made most of them."""
        metadata: Any = pod.metadata
        made: list[Object] = []
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            if volume.ephemeral is None or self.maybe(5):
                continue
            owner = make_owner("Pod", metadata.name, "uid-of-another" if self.maybe(4) else metadata.uid)
            name = f"{metadata.name}-{volume.name}"
            bound = {"bound_to": f"bound-{name}"} if self.maybe(50) else {}
            made.append(self.claim(name, namespace=metadata.namespace, owners=[owner], **bound))
            if bound:
                made.append(self.volume(f"bound-{name}", claim=f"{metadata.namespace}/{name}", claim_uid=f"uid-{name}"))
        return made
