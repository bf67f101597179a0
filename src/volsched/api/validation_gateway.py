"""Validation of the Gateway API kind, which on a cluster stands in its CRD as a schema. Messages are those of the schema.

Source: gateway.networking.k8s.io/v1beta1, config/crd (referencegrants).
"""

from __future__ import annotations

from typing import Final

from volsched.api import fields
from volsched.api.fields import Problems
from volsched.api.gateway import ReferenceGrant

_ITEMS_MAX: Final = 16


def reference_grant(problems: Problems, obj: ReferenceGrant) -> None:
    """One to sixteen of each side, every one with a kind; a group may be empty, a namespace is the name of one."""
    for path, count in (("spec.from", len(obj.spec.from_)), ("spec.to", len(obj.spec.to))):
        if not count:
            problems.invalid(path, count, f"{path} in body should have at least 1 items")
        elif count > _ITEMS_MAX:
            problems.invalid(path, count, f"{path} in body should have at most {_ITEMS_MAX} items")
    for index, item in enumerate(obj.spec.from_):
        _kind(problems, f"spec.from[{index}].kind", item.kind)
        problems.each(f"spec.from[{index}].namespace", item.namespace, fields.dns_label(item.namespace))
    for index, target in enumerate(obj.spec.to):
        _kind(problems, f"spec.to[{index}].kind", target.kind)


def _kind(problems: Problems, path: str, kind: str) -> None:
    if not kind:
        problems.invalid(path, kind, f"{path} in body should be at least 1 chars long")
