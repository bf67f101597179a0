"""The main story, told from manifests: a folder of numbered files is played on the embedded cluster with a real gRPC driver.

    10 cluster   20 first class   30 claim   40 pod   50 corrected class   60 snapshot   70 restore   80 local volumes   90 local claims

Nothing of the outcome is written here: what happens follows from the objects in the files, the scheduler and the controllers. Other zones,
sizes and names give another story. Bytes are written and read through the path at which the kubelet had the driver publish the volume.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from volsched.api.kinds import key_of, meta
from volsched.api.manifest import load_files
from volsched.app.cluster import START_NS, Cluster
from volsched.app.drivers import DriverSettings, profile_of
from volsched.app.explain import Explainer
from volsched.controllers.kubelet_mounts import node_root, publish_path
from volsched.csi.backend import FakeDriver
from volsched.csi.client import GrpcClient
from volsched.csi.directory import DirectoryData
from volsched.csi.server import CsiServer
from volsched.env import Chance, VirtualClock
from volsched.errors import InputError

CHAPTERS: Final = ("10", "20", "30", "40", "50", "60", "70", "80", "90")
PAYLOAD_BYTES: Final = 1 << 20
FILE_NAME: Final = "data.bin"


class Outcome(NamedTuple):
    """What the story came to; the digests are SHA-256 of what was written before the snapshot, after it, and read from the restore."""

    first_message: str
    node: str | None
    snapshot_ready: bool
    before: str
    after: str
    restored: str
    content_gone: bool
    local_node: str | None
    local_message: str

    def problems(self) -> list[str]:
        """What did not come out as a story of this kind shall; empty when all did."""
        checks = [
            (self.snapshot_ready, "the snapshot is not ready to use"),
            (self.restored == self.before, "the restored bytes are not those of the snapshot"),
            (self.before != self.after, "the data was not overwritten after the snapshot"),
            (self.content_gone, "the snapshot or its content is still there"),
            (self.local_node is not None, f"the pod with local volumes is on no node: {self.local_message}"),
        ]
        return [text for good, text in checks if not good]


class Narrator(NamedTuple):
    """Where the story is told: chapter headings, facts, and the time in virtual seconds."""

    chapter: Callable[[str], None]
    fact: Callable[[str, str], None]


class Story:
    """A folder of manifests by chapter. Raises InputError when a chapter is missing."""

    def __init__(self, folder: Path, *, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self._objects: dict[str, list[Any]] = {}
        for chapter in CHAPTERS:
            files = sorted(folder.glob(f"{chapter}-*.yaml"))
            if not files:
                raise InputError(f"has no file {chapter}-*.yaml", source=str(folder))
            self._objects[chapter] = [item.object for item in load_files(files, warn=warn)]

    def objects(self, chapter: str) -> list[Any]:
        """The objects of a chapter, in file order."""
        return self._objects[chapter]

    def one(self, chapter: str, kind: str) -> Any:
        """The first object of a kind in a chapter. Raises InputError when there is none."""
        for obj in self._objects[chapter]:
            if key_of(obj).kind == kind:
                return obj
        raise InputError(f"chapter {chapter} has no {kind}", source=str(self.folder))


def _message(cluster: Cluster, pod: Any) -> str:
    """Why a pod is not scheduled, as its condition says; empty when it is."""
    stored = cluster.current(pod)
    for condition in (stored.status.conditions if stored.status else None) or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.message or ""
    return ""


@contextlib.contextmanager
def _drivers(story: Story, clock: VirtualClock, workdir: Path) -> Iterator[list[DriverSettings]]:
    """One gRPC server on a unix socket for every CSIDriver of the first chapter, with topology keys as its CSINodes report them."""
    cluster_objects = story.objects("10")
    with contextlib.ExitStack() as stack:
        settings = []
        for number, driver_object in enumerate(obj for obj in cluster_objects if key_of(obj).kind == "CSIDriver"):
            name = meta(driver_object).name or ""
            entries = [
                (meta(node).name, entry)
                for node in cluster_objects
                if key_of(node).kind == "CSINode"
                for entry in node.spec.drivers or ()
                if entry.name == name
            ]
            profile = profile_of(name, driver=driver_object, csi_nodes=[obj for obj in cluster_objects if key_of(obj).kind == "CSINode"])
            driver = FakeDriver(profile, clock=clock, data=DirectoryData(workdir / f"storage-{number}"))
            labels = {meta(obj).name: meta(obj).labels or {} for obj in cluster_objects if key_of(obj).kind == "Node"}
            for node, entry in entries:
                driver.register_node(entry.nodeID, labels.get(node, {}))
            endpoint = f"unix://{workdir}/csi-{number}.sock"
            stack.enter_context(CsiServer(driver, endpoint))
            settings.append(DriverSettings(profile=profile, client=stack.enter_context(contextlib.closing(GrpcClient(endpoint)))))
        yield settings


def play(folder: Path, workdir: Path, narrator: Narrator, *, warn: Callable[[str], None], seed: int = 0, engine: str = "native") -> Outcome:
    """Play the story of a folder; sockets, storage and mounts live under `workdir`."""
    story = Story(folder, warn=warn)
    chance = Chance(seed)("demo payload")
    kubelet_root = str(workdir / "kubelet" / "{node}")
    clock = VirtualClock(START_NS)
    with (
        _drivers(story, clock, workdir) as drivers,
        Cluster(seed=seed, engine=engine, drivers=drivers, kubelet_root=kubelet_root, clock=clock) as cluster,
    ):

        def apply(chapter: str) -> None:
            for obj in story.objects(chapter):
                _, outcome = cluster.apply(obj)
                narrator.fact("apply", f"{key_of(obj)} {outcome}")
            cluster.run_until_idle()

        def payload(pod: Any, claim: Any) -> Path:
            stored, volume = cluster.current(pod), cluster.current(claim).spec.volumeName
            root = node_root(kubelet_root, stored.spec.nodeName)
            return Path(publish_path(root, stored.metadata.uid, volume, block=False)) / FILE_NAME

        narrator.chapter("A cluster, and a class that allows volumes in one zone")
        apply("10")
        apply("20")
        apply("30")
        pod, claim = story.one("40", "Pod"), story.one("30", "PersistentVolumeClaim")
        apply("40")
        first_message = _message(cluster, pod)
        narrator.fact("pod", _state(cluster, pod))
        for line in _why(cluster, pod):
            narrator.fact("why", line)

        narrator.chapter("The class corrected, the pod created again")
        for obj in (pod, story.one("20", "StorageClass")):
            kind, namespace, name = key_of(obj)
            cluster.delete(kind, namespace, name)
            narrator.fact("delete", str(key_of(obj)))
        cluster.run_until_idle()
        apply("50")
        apply("40")
        narrator.fact("pod", _state(cluster, pod))
        narrator.fact("claim", _state(cluster, claim))
        if cluster.current(pod).status.phase != "Running":
            raise InputError(f"the story cannot go on, {key_of(pod)} is not Running: {_message(cluster, pod)}", source=str(folder))
        payload(pod, claim).write_bytes(chance.randbytes(PAYLOAD_BYTES))
        before = _digest(payload(pod, claim))
        narrator.fact("written", f"{PAYLOAD_BYTES} bytes, SHA-256 {before}")

        narrator.chapter("A snapshot, then the data is overwritten")
        apply("60")
        snapshot = story.one("60", "VolumeSnapshot")
        narrator.fact("snapshot", _state(cluster, snapshot))
        status = cluster.current(snapshot).status
        content_name = status.boundVolumeSnapshotContentName if status else None
        payload(pod, claim).write_bytes(chance.randbytes(PAYLOAD_BYTES))
        after = _digest(payload(pod, claim))
        narrator.fact("overwritten", f"SHA-256 {after}")

        narrator.chapter("A claim restored from the snapshot")
        apply("70")
        restore_pod, restore_claim = story.one("70", "Pod"), story.one("70", "PersistentVolumeClaim")
        narrator.fact("pod", _state(cluster, restore_pod))
        narrator.fact("claim", _state(cluster, restore_claim))
        if cluster.current(restore_pod).status.phase != "Running":
            raise InputError(
                f"the story cannot go on, {key_of(restore_pod)} is not Running: {_message(cluster, restore_pod)}", source=str(folder)
            )
        restored = _digest(payload(restore_pod, restore_claim))
        narrator.fact(
            "read back", f"SHA-256 {restored}, {'the bytes of the snapshot' if restored == before else 'NOT the bytes of the snapshot'}"
        )

        narrator.chapter("The snapshot deleted, its content with it")
        kind, namespace, name = key_of(snapshot)
        cluster.delete(kind, namespace, name)
        cluster.run_until_idle()
        left = [meta(content).name for content in cluster.list("VolumeSnapshotContent")]
        content_gone = content_name is not None and content_name not in left and not cluster.list("VolumeSnapshot")
        narrator.fact("left", ", ".join(str(name) for name in left) or "no snapshot, no content")

        narrator.chapter("Two local claims of one pod")
        apply("80")
        apply("90")
        local_pod = story.one("90", "Pod")
        narrator.fact("pod", _state(cluster, local_pod))
        for line in _why(cluster, local_pod):
            narrator.fact("why", line)
        for obj in story.objects("90"):
            if key_of(obj).kind == "PersistentVolumeClaim":
                narrator.fact("claim", _state(cluster, obj))
        elapsed_s = (cluster.now_ns() - cluster.start_ns) // 10**9
        calls, writes = len(cluster.csi_calls), cluster.store.resource_version
        narrator.fact("calls", f"{calls} CSI calls over a unix socket, {writes} writes, {elapsed_s // 60} minutes of virtual time")
        narrator.fact("run", cluster.run_hash())
        return Outcome(
            first_message=first_message,
            node=cluster.current(pod).spec.nodeName,
            snapshot_ready=bool(status and status.readyToUse),
            before=before,
            after=after,
            restored=restored,
            content_gone=content_gone,
            local_node=cluster.current(local_pod).spec.nodeName,
            local_message=_message(cluster, local_pod),
        )


def _why(cluster: Cluster, pod: Any) -> Iterator[str]:
    """What kept the claims of a pod that is not scheduled from being served, for the nodes that were refused for it."""
    stored = cluster.current(pod)
    if stored.spec.nodeName:
        return
    explanation = Explainer(cluster).explain(stored)
    nodes = {node for row in explanation.refused if row.plugin == "VolumeBinding" for node in row.nodes}
    for claim in explanation.claims:
        for group in claim.groups:
            concerned = [node for node in group.nodes if node in nodes]
            if not concerned or group.fits:
                continue
            for candidate in group.candidates:
                named = f"{candidate.kind} {candidate.name}: " if candidate.kind != "provisioner" else ""
                yield f"{', '.join(concerned)}: {named}{'; '.join(refusal.text for refusal in candidate.refusals)}"
            if not group.candidates:
                yield f"{', '.join(concerned)}: no volume for claim {claim.claim} can be reached from there"
    yield from explanation.notes


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _state(cluster: Cluster, obj: Any) -> str:
    """One line about an object as it is now."""
    stored = cluster.current(obj)
    kind, _, name = key_of(stored)
    if kind == "Pod":
        node = f" on {stored.spec.nodeName}" if stored.spec.nodeName else ""
        message = _message(cluster, stored)
        return f"{name} {stored.status.phase}{node}" + (f": {message}" if message else "")
    if kind == "PersistentVolumeClaim":
        volume = stored.spec.volumeName
        return f"{name} {stored.status.phase}" + (f", volume {volume}, {(stored.status.capacity or {}).get('storage')}" if volume else "")
    status = stored.status
    content = cluster.store.raw(
        key_of(stored)._replace(
            kind="VolumeSnapshotContent", namespace="", name=(status.boundVolumeSnapshotContentName or "") if status else ""
        )
    )
    handle = content.status.snapshotHandle if content is not None and content.status else None
    return f"{name} {'ready to use' if status and status.readyToUse else 'not ready'}" + (
        f", handle {handle}, {status.restoreSize}" if handle else ""
    )
