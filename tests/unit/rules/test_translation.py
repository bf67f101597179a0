"""In-tree volumes as their CSI drivers see them."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    CinderPersistentVolumeSource,
    CinderVolumeSource,
    GCEPersistentDiskVolumeSource,
    NodeSelector,
    PersistentVolume,
    PortworxVolumeSource,
    Volume,
)

from tests.builders import REGION, ZONE, make_csinode, make_pv, make_requirement, make_term
from volsched.rules.translation import (
    TranslationError,
    driver_volume,
    is_in_tree,
    is_migrated_on,
    migrated_driver,
    translate_for_node,
    translate_inline,
    translate_volume,
)

BETA_ZONE = "failure-domain.beta.kubernetes.io/zone"
BETA_REGION = "failure-domain.beta.kubernetes.io/region"
EBS_ZONE = "topology.ebs.csi.aws.com/zone"
EBS = {"awsElasticBlockStore": AWSElasticBlockStoreVolumeSource(volumeID="vol-1")}


def _pv(source: dict[str, Any], **rest: Any) -> PersistentVolume:
    return make_pv(spec={"csi": None, **source}, **rest)


def _terms(pv: PersistentVolume) -> list[dict[str, tuple[str, list[str] | None]]]:
    affinity = translate_volume(pv).spec.nodeAffinity  # type: ignore[union-attr]
    if affinity is None or affinity.required is None:
        return []
    return [
        {item.key: (item.operator, item.values) for item in term.matchExpressions or ()} for term in affinity.required.nodeSelectorTerms
    ]


class TestHandles:
    @pytest.mark.parametrize(
        ("volume_id", "handle"),
        [
            ("vol-1", "vol-1"),
            ("whatever", "whatever"),
            ("aws://zone/vol-1", "vol-1"),
            ("aws:///vol-1/", "vol-1"),
            ("aws:///vol%2D1?x=1#y", "vol-1"),
            ("aws://user@zone:80/vol-1", "vol-1"),
        ],
    )
    def test_ebs(self, volume_id: str, handle: str) -> None:
        source = AWSElasticBlockStoreVolumeSource(volumeID=volume_id)
        assert translate_inline(Volume(name="v", awsElasticBlockStore=source)) == ("ebs.csi.aws.com", handle)

    @pytest.mark.parametrize(
        ("volume_id", "text"),
        [
            ("aws://zone/bad", "Invalid format for AWS volume (aws://zone/bad)"),
            ("aws://vol-1", "Invalid format for AWS volume (aws://vol-1)"),
            ("aws:///a/vol-1", "Invalid format for AWS volume (aws:///a/vol-1)"),
            ("aws://a b/vol-1", 'Invalid disk name (aws://a b/vol-1): parse "aws://a b/vol-1": invalid character " " in host name'),
            ("aws://a:b/vol-1", 'Invalid disk name (aws://a:b/vol-1): parse "aws://a:b/vol-1": invalid port ":b" after host'),
            ("aws:///vol-%zz", 'Invalid disk name (aws:///vol-%zz): parse "aws:///vol-%zz": invalid URL escape "%zz"'),
            ("aws://[::1/vol-1", "Invalid disk name (aws://[::1/vol-1): parse \"aws://[::1/vol-1\": missing ']' in host"),
        ],
    )
    def test_ebs_that_cannot_be_addressed(self, volume_id: str, text: str) -> None:
        with pytest.raises(TranslationError) as caught:
            driver_volume(_pv({"awsElasticBlockStore": AWSElasticBlockStoreVolumeSource(volumeID=volume_id)}))
        assert str(caught.value) == f"failed to translate Kubernetes ID to EBS Volume ID {text}"

    @pytest.mark.parametrize(
        ("labels", "handle"),
        [
            ({}, "zones/UNSPECIFIED"),
            ({ZONE: "a"}, "zones/a"),
            ({ZONE: "a", BETA_ZONE: "b"}, "zones/b"),
            ({ZONE: "eu-west-a__eu-west-b"}, "regions/eu-west"),
        ],
    )
    def test_gce(self, labels: dict[str, str], handle: str) -> None:
        pv = _pv({"gcePersistentDisk": GCEPersistentDiskVolumeSource(pdName="d")}, labels=labels)
        assert driver_volume(pv) == ("pd.csi.storage.gke.io", f"projects/UNSPECIFIED/{handle}/disks/d")

    @pytest.mark.parametrize("label", ["a__b", "eu-west-a__eu-east-a", "eu-west-a__"])
    def test_gce_zones_have_to_be_of_one_region(self, label: str) -> None:
        with pytest.raises(TranslationError, match="failed to get region from zones"):
            driver_volume(_pv({"gcePersistentDisk": GCEPersistentDiskVolumeSource(pdName="d")}, labels={ZONE: label}))

    @pytest.mark.parametrize(("kind", "fine"), [("Managed", True), ("managed", True), ("Dedicated", False), (None, False)])
    def test_azure_translates_managed_disks_only(self, kind: str | None, fine: bool) -> None:
        volume = Volume(name="v", azureDisk=AzureDiskVolumeSource(diskName="d", diskURI="u", kind=kind))
        if fine:
            assert translate_inline(volume) == ("disk.csi.azure.com", "u")
            return
        with pytest.raises(TranslationError, match=f"^kind\\({kind or 'Shared'}\\) is not supported in csi migration$"):
            translate_inline(volume)

    def test_others_keep_their_identity(self) -> None:
        cinder = CinderPersistentVolumeSource(volumeID="c")
        assert driver_volume(_pv({"cinder": cinder})) == ("cinder.csi.openstack.org", "c")
        assert translate_inline(Volume(name="v", cinder=CinderVolumeSource(volumeID="c"))) == ("cinder.csi.openstack.org", "c")
        assert driver_volume(_pv({"portworxVolume": PortworxVolumeSource(volumeID="p")})) == ("pxd.portworx.com", "p")
        assert driver_volume(make_pv()) is None
        assert translate_inline(Volume(name="v")) is None


class TestTopology:
    def test_zone_key_is_renamed_and_values_stay(self) -> None:
        assert _terms(_pv(EBS, where={ZONE: "a", "rack": "1"})) == [{EBS_ZONE: ("In", ["a"]), "rack": ("In", ["1"])}]

    def test_zones_come_from_the_label_when_the_affinity_names_none(self) -> None:
        label = {ZONE: "b__ a __"}
        assert _terms(_pv(EBS, labels=label)) == [{EBS_ZONE: ("In", ["a", "b"])}]
        assert _terms(_pv(EBS, labels=label, where={"rack": "1"})) == [{"rack": ("In", ["1"]), EBS_ZONE: ("In", ["a", "b"])}]

    def test_a_label_without_any_zone_adds_nothing(self) -> None:
        assert _terms(_pv(EBS, labels={ZONE: " __ "})) == []

    def test_an_expression_without_values_is_not_renamed(self) -> None:
        affinity = NodeSelector(nodeSelectorTerms=[make_term(expressions=[make_requirement(ZONE, "Exists")])])
        assert _terms(_pv(EBS, affinity=affinity)) == [{ZONE: ("Exists", None)}]

    def test_the_beta_pair_renames_the_region_as_well(self) -> None:
        pv = _pv(EBS, where={BETA_ZONE: "a", BETA_REGION: "r"})
        assert _terms(pv) == [{EBS_ZONE: ("In", ["a"]), REGION: ("In", ["r"])}]

    def test_with_the_ga_pair_a_beta_region_stays(self) -> None:
        assert _terms(_pv(EBS, where={ZONE: "a", BETA_REGION: "r"})) == [{EBS_ZONE: ("In", ["a"]), BETA_REGION: ("In", ["r"])}]

    def test_azure_and_portworx_keep_their_affinity(self) -> None:
        pv = _pv({"portworxVolume": PortworxVolumeSource(volumeID="p")}, where={ZONE: "a"})
        assert _terms(pv) == [{ZONE: ("In", ["a"])}]

    def test_csi_volumes_come_back_as_they_are(self) -> None:
        pv = make_pv(zone="a")
        assert translate_volume(pv) is pv


class TestMigration:
    def test_nodes_say_which_plugins_they_migrated(self) -> None:
        node = make_csinode(migrated=["kubernetes.io/gce-pd", "kubernetes.io/aws-ebs"])
        assert is_migrated_on(node, "kubernetes.io/aws-ebs")
        assert not is_migrated_on(node, "kubernetes.io/cinder")
        assert not is_migrated_on(make_csinode(), "kubernetes.io/aws-ebs")
        assert not is_migrated_on(None, "kubernetes.io/aws-ebs")

    def test_a_volume_is_translated_only_for_such_nodes(self) -> None:
        pv = _pv(EBS, where={ZONE: "a"})
        assert translate_for_node(pv, make_csinode()) is pv
        assert translate_for_node(pv, make_csinode(migrated=["kubernetes.io/aws-ebs"])) is not pv

    def test_provisioners(self) -> None:
        assert migrated_driver("kubernetes.io/aws-ebs") == "ebs.csi.aws.com"
        assert migrated_driver("kubernetes.io/vsphere-volume") is None
        assert is_in_tree("kubernetes.io/vsphere-volume")
        assert not is_in_tree("csi.example.com")
