"""What differs between a story's recording and what `rehearse` answered: objects per stage, distinct events, CSI calls in order."""

from __future__ import annotations

import itertools
import json
import re

SELECTED_NODE = "volume.kubernetes.io/selected-node"
CALLS = {"CreateVolume", "DeleteVolume", "CreateSnapshot", "DeleteSnapshot", "ListSnapshots"}


def uid_tokens(output):
    """uid -> '<uid:Kind/name>' (second object of a name: '#2'), from the output's `uids` map."""
    return {u: f"<uid:{kind}/{name}{'' if n == 1 else f'#{n}'}>" for u, (kind, name, n) in output.get("uids", {}).items()}


def tokenise(value, tokens):
    text = json.dumps(value)
    if tokens:
        text = re.sub("|".join(sorted(map(re.escape, tokens), key=len, reverse=True)), lambda m: tokens[m[0]], text)
    return json.loads(text)


def handle_tokens(record, stages):
    """Backend id -> the object it belongs to: which of two volumes made at once is vol-0002 is a matter of timing."""
    tokens = {}
    for o in (o for s in stages for o in s["objects"]):
        spec, name = o.get("spec") or {}, o["metadata"]["name"]
        if o["kind"] == "PersistentVolume" and name.startswith("pvc-") and spec.get("csi"):
            tokens[spec["csi"].get("volumeHandle")] = f"<volume of {name}>"
        elif o["kind"] == "VolumeSnapshotContent" and "volumeHandle" in (spec.get("source") or {}):
            tokens[(o.get("status") or {}).get("snapshotHandle")] = f"<snapshot of {name}>"
    return tokenise(record, {k: v for k, v in tokens.items() if k})


def ref(r):
    return r and {k: r.get(k) for k in ("namespace", "name", "uid")}


def project(o):
    """The part of an object that must be equal."""
    m, spec, st = o["metadata"], o.get("spec") or {}, o.get("status") or {}
    out = {"deleting": bool(m.get("deletionTimestamp"))}
    kind = o["kind"]
    if kind != "Pod":
        out["finalizers"] = sorted(m.get("finalizers") or [])
        out["annotations"] = dict(m.get("annotations") or {})
        if SELECTED_NODE in out["annotations"] and not spec.get("volumeName"):
            out["annotations"][SELECTED_NODE] = "set"  # of a claim no volume was made for: one of equal nodes
    if kind == "Pod":
        out |= {
            "node": spec.get("nodeName"),
            "phase": st.get("phase"),
            "nominated": bool(st.get("nominatedNodeName")),
            "zone": {k: v for k, v in (m.get("labels") or {}).items() if k.startswith("topology.kubernetes.io/")},
            "scheduled": [
                (c["status"], c.get("reason"), c.get("message"))
                for c in st.get("conditions") or []
                if c["type"] == "PodScheduled" and c["status"] == "False"
            ],
        }
    elif kind == "PersistentVolumeClaim":
        out |= {
            "volume": spec.get("volumeName"),
            "class": spec.get("storageClassName"),
            "request": spec.get("resources", {}).get("requests"),
            "source": (spec.get("dataSource") or {}).get("name"),
            "source_ref": (spec.get("dataSourceRef") or {}).get("name"),
            "volume_mode": spec.get("volumeMode"),
            "phase": st.get("phase"),
            "capacity": st.get("capacity"),
            "modes": st.get("accessModes"),
            "unused": [(c["status"], c.get("reason"), c.get("message")) for c in st.get("conditions") or [] if c["type"] == "Unused"],
        }
    elif kind == "PersistentVolume":
        csi = spec.get("csi") or {}
        out |= {
            "claim": ref(spec.get("claimRef")),
            "class": spec.get("storageClassName"),
            "capacity": spec.get("capacity"),
            "modes": spec.get("accessModes"),
            "reclaim": spec.get("persistentVolumeReclaimPolicy"),
            "volume_mode": spec.get("volumeMode"),
            "affinity": spec.get("nodeAffinity"),
            "driver": csi.get("driver"),
            "handle": csi.get("volumeHandle"),
            "fs": csi.get("fsType"),
            "phase": st.get("phase"),
        }
    elif kind == "VolumeSnapshot":
        out |= {
            "generation": m.get("generation"),
            "source": spec.get("source"),
            "class": spec.get("volumeSnapshotClassName"),
            "content": st.get("boundVolumeSnapshotContentName"),
            "ready": st.get("readyToUse"),
            "size": st.get("restoreSize"),
            "created": bool(st.get("creationTime")),
            "error": (st.get("error") or {}).get("message"),
        }
    elif kind == "VolumeSnapshotContent":
        out |= {
            "generation": m.get("generation"),
            "source": spec.get("source"),
            "source_mode": spec.get("sourceVolumeMode"),
            "snapshot": ref(spec.get("volumeSnapshotRef")),
            "driver": spec.get("driver"),
            "policy": spec.get("deletionPolicy"),
            "class": spec.get("volumeSnapshotClassName"),
            "handle": st.get("snapshotHandle"),
            "ready": st.get("readyToUse"),
            "size": st.get("restoreSize"),
            "created": bool(st.get("creationTime")),
            "error": (st.get("error") or {}).get("message"),
        }
    else:
        return None
    return out


def objects(stage):
    rows = {}
    for o in stage["objects"]:
        p = project(o)
        if p is not None:
            rows[(o["kind"], o["metadata"].get("namespace") or "", o["metadata"]["name"])] = p
    return rows


def event_keys(events):
    """Without what depends on the moment: the 15 s resync, node heartbeats, lost races for one object."""
    return {
        tuple(e.get(k) or "" for k in ("source", "type", "reason", "kind", "namespace", "name", "message"))
        for e in events
        if e.get("reason") != "WaitForPodScheduled"
        and e.get("kind") != "Node"
        and "the object has been modified" not in e.get("message", "")
    }


def raced(event, timeline):
    """WaitForFirstConsumer of a claim created just before its pod: the real controller may have seen the pod already."""
    made = [e["do"] for e in timeline if "do" in e and e["do"]["verb"] == "create"]
    claims = [i for i, d in enumerate(made) if d["kind"] == "PersistentVolumeClaim" and d["name"] == event[5]]
    pods = [i for i, d in enumerate(made) if d["kind"] == "Pod" and f'"claimName": "{event[5]}"' in json.dumps(d["body"])]
    return event[2] == "WaitForFirstConsumer" and bool(claims) and not (pods and pods[0] < claims[0])


def call_keys(calls):
    """Distinct calls that change or look up volumes and snapshots; neighbours of one method in any order."""
    keys = dict.fromkeys((c["method"].rpartition("/")[2], json.dumps(c.get("request") or {}, sort_keys=True)) for c in calls)
    return [k for _, run in itertools.groupby((k for k in keys if k[0] in CALLS), key=lambda k: k[0]) for k in sorted(run)]


def differences(story, output):
    output = tokenise(output, uid_tokens(output))
    story = handle_tokens(story, [t for t in story["timeline"] if "stage" in t])
    output = handle_tokens(output, output.get("stages", []))
    got = {s["stage"]: s for s in output.get("stages", [])}
    for want in (e for e in story["timeline"] if "stage" in e):
        stage = got.get(want["stage"])
        if stage is None:
            yield f"stage {want['stage']!r}: missing"
            continue
        a, b = objects(want), objects(stage)
        for key in sorted(a.keys() | b.keys()):
            if key not in b or key not in a:
                yield f"stage {want['stage']!r}: {'/'.join(key)} {'missing' if key not in b else 'unexpected'}"
                continue
            for field in a[key]:
                if a[key][field] != b[key][field]:
                    yield f"stage {want['stage']!r}: {'/'.join(key)} {field}: want {a[key][field]!r} got {b[key][field]!r}"
    a, b = event_keys(story["events"]), event_keys(output.get("events", []))
    for e in sorted(a - b):
        yield f"event missing: {e}"
    for e in sorted(e for e in b - a if not raced(e, story["timeline"])):
        yield f"event unexpected: {e}"
    a, b = call_keys(story["csi_calls"]), call_keys(output.get("csi_calls", []))
    if a != b:
        yield f"CSI calls: want {a} got {b}"
