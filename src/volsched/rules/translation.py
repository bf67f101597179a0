"""CSI migration: what an in-tree volume looks like to the CSI driver that has taken it over.

Nodes of a cluster that migrated carry the driver's own zone label, so a volume's node affinity has to be renamed before it is compared with
them; and attach limits count the driver's handle, not the in-tree one. Nothing is stored: the translated volume lives as long as the check.

Source: csi-translation-lib/plugins/*.go, pkg/scheduler/framework/plugins/volumebinding/binder.go (tryTranslatePVToCSI);
spec/scheduling.md 4.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote

from lightkube.models.core_v1 import (
    CSIPersistentVolumeSource,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolume,
    Volume,
    VolumeNodeAffinity,
)
from lightkube.models.storage_v1 import CSINode

from volsched.api.edit import annotations_of, labels_of, replace, with_spec
from volsched.rules.selectors import IN
from volsched.rules.texts import quoted
from volsched.rules.topology import BETA_REGION, BETA_ZONE, REGION, ZONE, ZONE_DELIMITER

ANN_MIGRATED_PLUGINS: Final = "storage.alpha.kubernetes.io/migrated-plugins"

AWS_EBS: Final = "kubernetes.io/aws-ebs"
GCE_PD: Final = "kubernetes.io/gce-pd"
AZURE_DISK: Final = "kubernetes.io/azure-disk"
CINDER: Final = "kubernetes.io/cinder"
PORTWORX: Final = "kubernetes.io/portworx-volume"

_UNSPECIFIED: Final = "UNSPECIFIED"
_AZURE_DEFAULT_KIND: Final = "Shared"  # what the API server fills in
_EBS_PREFIX: Final = "aws://"
_EBS_ID: Final = re.compile(r"vol-[^/]*")
_URL_USER: Final = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_URL_HOST: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:\[\]<>\"%]")
_ASCII_END: Final = 0x80
_ASCII_LAST: Final = "\x7f"


class TranslationError(ValueError):
    """A volume that its CSI driver could not address."""


class _Plugin(NamedTuple):
    driver: str
    zone_key: str | None  # None: node affinity stays as it is


_PLUGINS: Final[dict[str, _Plugin]] = {
    AWS_EBS: _Plugin("ebs.csi.aws.com", "topology.ebs.csi.aws.com/zone"),
    GCE_PD: _Plugin("pd.csi.storage.gke.io", "topology.gke.io/zone"),
    AZURE_DISK: _Plugin("disk.csi.azure.com", None),
    CINDER: _Plugin("cinder.csi.openstack.org", "topology.cinder.csi.openstack.org/zone"),
    PORTWORX: _Plugin("pxd.portworx.com", None),
}

# These have CSI drivers as well, but the scheduler translates no volumes of theirs.
_UNTRANSLATED_PLUGINS: Final = ("kubernetes.io/vsphere-volume", "kubernetes.io/azure-file")


class DriverVolume(NamedTuple):
    """A volume as its CSI driver knows it."""

    driver: str
    handle: str


def is_in_tree(plugin: str) -> bool:
    """Whether a provisioner name is that of an in-tree plugin with a CSI driver, whether or not the scheduler takes it for migrated."""
    return plugin in _PLUGINS or plugin in _UNTRANSLATED_PLUGINS


def migrated_driver(plugin: str) -> str | None:
    """The CSI driver that replaces an in-tree plugin, None when the name is not that of a migratable one."""
    known = _PLUGINS.get(plugin)
    return known.driver if known else None


def plugin_of_volume(pv: PersistentVolume) -> str | None:
    """The migratable in-tree plugin of a persistent volume, None when it has another source."""
    spec = pv.spec
    if spec is None:
        return None
    if spec.awsElasticBlockStore is not None:
        return AWS_EBS
    if spec.gcePersistentDisk is not None:
        return GCE_PD
    if spec.azureDisk is not None:
        return AZURE_DISK
    if spec.cinder is not None:
        return CINDER
    if spec.portworxVolume is not None:
        return PORTWORX
    return None


def plugin_of_inline(volume: Volume) -> str | None:
    """The migratable in-tree plugin of a volume written into a pod, None when it has another source."""
    if volume.awsElasticBlockStore is not None:
        return AWS_EBS
    if volume.gcePersistentDisk is not None:
        return GCE_PD
    if volume.azureDisk is not None:
        return AZURE_DISK
    if volume.cinder is not None:
        return CINDER
    if volume.portworxVolume is not None:
        return PORTWORX
    return None


def is_migrated_on(csi_node: CSINode | None, plugin: str) -> bool:
    """Whether the node says that it serves this plugin's volumes through CSI."""
    if csi_node is None:
        return False
    listed = annotations_of(csi_node).get(ANN_MIGRATED_PLUGINS, "")
    return plugin in listed.split(",")


# Handles ------------------------------------------------------------------------------------------------------------------------------


def _check_escapes(text: str, *, host: bool) -> None:
    """Percent signs introduce two hexadecimal digits; a host may not escape what could be written plainly."""
    for match in re.finditer(r"%(.{0,2})", text):
        digits = match.group(1)
        if not re.fullmatch(r"[0-9A-Fa-f]{2}", digits) or (host and int(digits, 16) < _ASCII_END and digits != "25"):
            raise TranslationError(f"invalid URL escape {quoted(match.group())}")


def _check_host(authority: str) -> None:
    user, at, host = authority.rpartition("@")
    if at and not _URL_USER.fullmatch(user):
        raise TranslationError("net/url: invalid userinfo")
    if host.startswith("["):
        _address, bracket, after = host.rpartition("]")
        if not bracket:
            raise TranslationError("missing ']' in host")
    else:
        after = host[host.find(":") :] if ":" in host else ""
    if after and not re.fullmatch(r":[0-9]*", after):
        raise TranslationError(f"invalid port {quoted(after)} after host")
    _check_escapes(host, host=True)
    wrong = next((character for character in host if character < _ASCII_LAST and not _URL_HOST.fullmatch(character)), None)
    if wrong is not None:
        raise TranslationError(f"invalid character {quoted(wrong)} in host name")


def _url_path(text: str) -> str:
    """The path of `aws://<zone>/<id>`, percent signs resolved. Raises TranslationError with what a URL parser says of a malformed one."""
    if any(character < " " or character == _ASCII_LAST for character in text):
        raise TranslationError("net/url: invalid control character in URL")
    before_fragment, _hash, _fragment = text.partition("#")
    address, _question, _query = before_fragment.partition("?")
    authority, slash, path = address[len(_EBS_PREFIX) :].partition("/")
    _check_host(authority)
    _check_escapes(path, host=False)
    return slash + unquote(path)


def _ebs_handle(volume_id: str) -> str:
    if not volume_id.startswith(_EBS_PREFIX):
        return volume_id
    untranslated = "failed to translate Kubernetes ID to EBS Volume ID"
    try:
        path = _url_path(volume_id)
    except TranslationError as problem:
        raise TranslationError(f"{untranslated} Invalid disk name ({volume_id}): parse {quoted(volume_id)}: {problem}") from problem
    handle = path.strip("/")
    if not _EBS_ID.fullmatch(handle):
        raise TranslationError(f"{untranslated} Invalid format for AWS volume ({volume_id})")
    return handle


def _azure_handle(disk_uri: str, kind: str | None) -> str:
    kind = kind or _AZURE_DEFAULT_KIND
    if kind.lower() != "managed":
        raise TranslationError(f"kind({kind}) is not supported in csi migration")
    return disk_uri


def _gce_region(zones: list[str]) -> str:
    regions: set[str] = set()
    for zone in zones:
        parts = zone.split("-")
        if len(parts) != 3:
            expected = "zone in unexpected format, expected: {locale}-{region}-{zone}"
            raise TranslationError(f"failed to get region from zones: {expected}, got: {zone}")
        regions.add("-".join(parts[:2]))
    if len(regions) != 1:
        listed = " ".join(f"{region}:{{}}" for region in sorted(regions))
        raise TranslationError(f"failed to get region from zones: multiple or no regions gotten from zones, got: map[{listed}]")
    return regions.pop()


def _gce_handle(disk: str, zones: list[str]) -> str:
    if len(zones) > 1:
        return f"projects/{_UNSPECIFIED}/regions/{_gce_region(zones)}/disks/{disk}"
    return f"projects/{_UNSPECIFIED}/zones/{zones[0] or _UNSPECIFIED}/disks/{disk}"


def _gce_volume_zones(pv: PersistentVolume) -> list[str]:
    labels = labels_of(pv)
    return (labels.get(BETA_ZONE) or labels.get(ZONE) or "").split(ZONE_DELIMITER)


def translate_inline(volume: Volume) -> DriverVolume | None:
    """A pod's inline volume as its CSI driver knows it, None when it is not migratable. Raises TranslationError."""
    if volume.awsElasticBlockStore is not None:
        return DriverVolume(_PLUGINS[AWS_EBS].driver, _ebs_handle(volume.awsElasticBlockStore.volumeID))
    if volume.gcePersistentDisk is not None:
        return DriverVolume(_PLUGINS[GCE_PD].driver, _gce_handle(volume.gcePersistentDisk.pdName, [""]))
    if volume.azureDisk is not None:
        return DriverVolume(_PLUGINS[AZURE_DISK].driver, _azure_handle(volume.azureDisk.diskURI, volume.azureDisk.kind))
    if volume.cinder is not None:
        return DriverVolume(_PLUGINS[CINDER].driver, volume.cinder.volumeID)
    if volume.portworxVolume is not None:
        return DriverVolume(_PLUGINS[PORTWORX].driver, volume.portworxVolume.volumeID)
    return None


def driver_volume(pv: PersistentVolume) -> DriverVolume | None:
    """A migratable persistent volume as its CSI driver knows it, None when it has another source. Raises TranslationError."""
    spec = pv.spec
    if spec is None:
        return None
    if spec.awsElasticBlockStore is not None:
        return DriverVolume(_PLUGINS[AWS_EBS].driver, _ebs_handle(spec.awsElasticBlockStore.volumeID))
    if spec.gcePersistentDisk is not None:
        return DriverVolume(_PLUGINS[GCE_PD].driver, _gce_handle(spec.gcePersistentDisk.pdName, _gce_volume_zones(pv)))
    if spec.azureDisk is not None:
        return DriverVolume(_PLUGINS[AZURE_DISK].driver, _azure_handle(spec.azureDisk.diskURI, spec.azureDisk.kind))
    if spec.cinder is not None:
        return DriverVolume(_PLUGINS[CINDER].driver, spec.cinder.volumeID)
    if spec.portworxVolume is not None:
        return DriverVolume(_PLUGINS[PORTWORX].driver, spec.portworxVolume.volumeID)
    return None


# Topology -----------------------------------------------------------------------------------------------------------------------------


def _required_terms(pv: PersistentVolume) -> list[NodeSelectorTerm]:
    affinity = pv.spec.nodeAffinity if pv.spec else None
    return list((affinity.required.nodeSelectorTerms if affinity and affinity.required else None) or [])


def _expressions(terms: list[NodeSelectorTerm]) -> Iterator[NodeSelectorRequirement]:
    for term in terms:
        yield from term.matchExpressions or ()


def _zone_and_region_keys(pv: PersistentVolume) -> tuple[str, str]:
    """The label pair the volume's topology is written in: by its node affinity, else by its labels, else GA."""
    keys = {item.key for item in _expressions(_required_terms(pv))}
    labels = labels_of(pv)
    if ZONE in keys:
        return ZONE, REGION
    if BETA_ZONE in keys:
        return BETA_ZONE, BETA_REGION
    if ZONE not in labels and BETA_ZONE in labels:
        return BETA_ZONE, BETA_REGION
    return ZONE, REGION


def _map_expressions(
    terms: list[NodeSelectorTerm], change: Callable[[list[NodeSelectorRequirement]], list[NodeSelectorRequirement]]
) -> list[NodeSelectorTerm]:
    return [replace(term, matchExpressions=change(list(term.matchExpressions or ()))) for term in terms]


def _renamed(terms: list[NodeSelectorTerm], old: str, new: str) -> list[NodeSelectorTerm]:
    return _map_expressions(terms, lambda items: [replace(item, key=new) if item.key == old else item for item in items])


def _has_values(terms: list[NodeSelectorTerm], key: str) -> bool:
    return any(item.key == key and item.values for item in _expressions(terms))


def _label_zones(label: str) -> list[str]:
    return sorted({zone.strip() for zone in label.split(ZONE_DELIMITER)} - {""})


def _translated_terms(pv: PersistentVolume, csi_zone_key: str) -> list[NodeSelectorTerm]:
    zone_key, region_key = _zone_and_region_keys(pv)
    terms = _required_terms(pv)
    labels = labels_of(pv)
    if _has_values(terms, zone_key):
        terms = _renamed(terms, zone_key, csi_zone_key)
    elif zone_key in labels and (zones := _label_zones(labels[zone_key])):
        added = NodeSelectorRequirement(key=csi_zone_key, operator=IN, values=zones)
        terms = _map_expressions(terms or [NodeSelectorTerm()], lambda items: [*items, added])
    if region_key == BETA_REGION and _has_values(terms, BETA_REGION):
        terms = _renamed(terms, BETA_REGION, REGION)
    return terms


def translate_volume(pv: PersistentVolume) -> PersistentVolume:
    """The volume as CSI sees it: driver, handle and node affinity; one that is not migratable comes back as it is.

    Raises TranslationError. An empty list of terms means that nothing was required, or that what was required matches no node: it is kept.
    """
    plugin = plugin_of_volume(pv)
    translated = driver_volume(pv)
    if plugin is None or translated is None or pv.spec is None:
        return pv
    csi = CSIPersistentVolumeSource(driver=translated.driver, volumeHandle=translated.handle)
    affinity = pv.spec.nodeAffinity
    zone_key = _PLUGINS[plugin].zone_key
    if zone_key is not None:
        terms = _translated_terms(pv, zone_key)
        if terms:
            affinity = VolumeNodeAffinity(required=NodeSelector(nodeSelectorTerms=terms))
    return with_spec(
        pv,
        csi=csi,
        nodeAffinity=affinity,
        awsElasticBlockStore=None,
        gcePersistentDisk=None,
        azureDisk=None,
        cinder=None,
        portworxVolume=None,
    )


def translate_for_node(pv: PersistentVolume, csi_node: CSINode | None) -> PersistentVolume:
    """The volume as this node's kubelet would see it: translated where the node has migrated the plugin. Raises TranslationError."""
    plugin = plugin_of_volume(pv)
    return translate_volume(pv) if plugin is not None and is_migrated_on(csi_node, plugin) else pv
