"""The one Gateway API kind that storage knows: a namespace allows objects of another to refer to something in it.

Source: gateway.networking.k8s.io/v1beta1, apis/v1beta1/referencegrant_types.go; spec/volumes.md 3.9.
"""

from __future__ import annotations

import msgspec
from lightkube.models.meta_v1 import ObjectMeta


class _Part(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Common form: keyword only, unset fields left out of the encoding."""


class ReferenceGrantFrom(_Part):
    """Who may refer: objects of this kind in this namespace. The empty group is the core one."""

    group: str
    kind: str
    namespace: str


class ReferenceGrantTo(_Part):
    """What may be referred to in the grant's own namespace; without a name, everything of the kind."""

    group: str
    kind: str
    name: str | None = None


class ReferenceGrantSpec(_Part):
    """Any of `from` may refer to any of `to`."""

    from_: list[ReferenceGrantFrom] = msgspec.field(name="from")
    to: list[ReferenceGrantTo]


class ReferenceGrant(_Part):
    spec: ReferenceGrantSpec
    apiVersion: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
