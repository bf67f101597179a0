"""ReferenceGrant: the schema of its CRD, and its field `from`, which is a word of Python."""

from __future__ import annotations

import json

import pytest
from lightkube.models.meta_v1 import ObjectMeta

from tests.unit.api.test_validation import refusals
from volsched.api.gateway import ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo
from volsched.api.kinds import decode, encode
from volsched.api.manifest import load_text

FROM = ReferenceGrantFrom(group="", kind="PersistentVolumeClaim", namespace="apps")
TO = ReferenceGrantTo(group="snapshot.storage.k8s.io", kind="VolumeSnapshot")
MANIFEST = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: restores, namespace: backups}
spec:
  from: [{group: "", kind: PersistentVolumeClaim, namespace: apps}]
  to: [{group: snapshot.storage.k8s.io, kind: VolumeSnapshot}]
"""


def grant(of: list[ReferenceGrantFrom], to: list[ReferenceGrantTo]) -> ReferenceGrant:
    return ReferenceGrant(metadata=ObjectMeta(name="restores", namespace="backups"), spec=ReferenceGrantSpec(from_=of, to=to))


def test_manifest_and_stored_form() -> None:
    (loaded,) = load_text(MANIFEST, source="grant.yaml", warn=pytest.fail)
    assert loaded.object.spec == grant([FROM], [TO]).spec
    stored = encode(loaded.object)
    assert json.loads(stored)["spec"]["from"] == [{"group": "", "kind": "PersistentVolumeClaim", "namespace": "apps"}]
    assert decode("ReferenceGrant", stored) == loaded.object
    assert refusals(loaded.object) == []


@pytest.mark.parametrize(
    ("of", "to", "expected"),
    [
        ([], [TO], "spec.from: Invalid value: 0: spec.from in body should have at least 1 items"),
        ([FROM], [TO] * 17, "spec.to: Invalid value: 17: spec.to in body should have at most 16 items"),
        (
            [ReferenceGrantFrom(group="", kind="", namespace="apps")],
            [TO],
            'spec.from[0].kind: Invalid value: "": spec.from[0].kind in body should be at least 1 chars long',
        ),
        ([FROM], [ReferenceGrantTo(group="", kind="")], 'spec.to[0].kind: Invalid value: "": spec.to[0].kind in body'),
        ([ReferenceGrantFrom(group="", kind="Pod", namespace="Apps")], [TO], 'spec.from[0].namespace: Invalid value: "Apps": a lowercase'),
    ],
)
def test_bad_ones(of: list[ReferenceGrantFrom], to: list[ReferenceGrantTo], expected: str) -> None:
    (found,) = refusals(grant(of, to))
    assert found.startswith(expected)
