"""Small traces of our own in the formats that are read, and scenes for replays."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from volsched.env.draws import uniforms
from volsched.replay.options import SynthOptions
from volsched.replay.readers import read_nodes, read_trace, with_nodes
from volsched.replay.synth import Scene, synthesise
from volsched.replay.trace import Trace

OPENB_PODS: Final = """\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p-0,12000,16384,1,1000,,LS,Running,0,500,10
p-1,6000,12288,1,460,V100M16|V100M32,BE,Succeeded,20,90,25
p-2,1000,512,0,0,,LS,Pending,30,60,
p-3,2000,1024,2,1000,,Burstable,Running,40,,40
"""
OPENB_NODES: Final = "sn,cpu_milli,memory_mib,gpu,model\nn-0,32000,262144,0,\nn-1,96000,393216,8,V100M16\nn-2,96000,393216,2,T4\n"
DLRM: Final = """\
instance_sn,role,app_name,cpu_request,cpu_limit,gpu_request,gpu_limit,rdma_request,rdma_limit,memory_request,memory_limit,disk_request,\
disk_limit,max_instance_per_node,creation_time,scheduled_time,deletion_time
instance_0,HN,app_0,12,12,1,1,25,25,120.0,120.0,640.0,800.0,8,,,
instance_1,HN,app_0,12,12,1,1,25,25,120.5,121.0,680.0,800.0,2,,,100.0
instance_2,CN,app_1,64,64,0,0,1,1,320.0,320.0,85.0,100.0,-1,475.00000000000006,623.0,1000.0
instance_3,CN,app_1,0.5,1,0,0,1,1,1.0,1.0,80.0,100.0,-1,500.0,,700.0
"""


def written(directory: Path, name: str, text: str) -> Path:
    """A file of that text."""
    path = directory / name
    path.write_text(text)
    return path


def own_trace(seed: int, *, pods: int = 60, span_s: int = 120, claims: bool = True) -> str:
    """A trace in our own format, busy enough that pods wait: times on and between whole seconds."""
    draws = {name: uniforms(seed, name, pods).tolist() for name in ("arrival", "life", "cpu", "memory", "claim", "size", "keep", "removal")}
    lines = ["name,arrival_s,lifetime_s,removal_s,cpu_milli,memory_bytes,priority,group,claims"]
    for at in range(pods):
        arrival = round(draws["arrival"][at] * span_s * 4) / 4
        life = "" if draws["life"][at] < 0.1 else f"{round(draws['life'][at] * span_s * 2) / 4}"
        removal = f"{arrival + 30}" if draws["removal"][at] < 0.15 else ""
        size = f"{1 + int(draws['size'][at] * 20)}Gi" + ("+" if draws["keep"][at] < 0.2 else "")
        claim = "" if not claims or draws["claim"][at] < 0.4 else f"zonal={size}" if draws["claim"][at] < 0.75 else f"local={size}"
        cpu = 250 * (1 + int(draws["cpu"][at] * 8))
        memory = f"{1 + int(draws['memory'][at] * 4)}Gi"
        lines.append(f"pod-{at},{arrival},{life},{removal},{cpu},{memory},{at % 3 // 2 * 100},{'ab'[at % 2]},{claim}")
    return "\n".join(lines) + "\n"


OWN_NODES: Final = "name,cpu_milli,memory_bytes,pods,zone\n" + "".join(f"node-{at},4000,16Gi,20,zone-{'abc'[at % 3]}\n" for at in range(6))
OPTIONS: Final = {
    "classes": [
        {
            "name": "zonal",
            "pool": {"constant": "60Gi"},
            "attachLimit": 3,
            "provision": {"uniform": ["0s", "4s"]},
            "attach": {"exponential": {"mean": "2s"}},
        },
        {"name": "local", "disks": {"count": {"constant": 1}, "size": {"choice": {"15Gi": 1, "25Gi": 1}}, "cleanup": {"constant": "5s"}}},
    ],
    "start": {"choice": {"0s": 1, "500ms": 1}},
}


def trace_of(directory: Path, pods: str, nodes: str = OWN_NODES) -> Trace:
    """A trace on its nodes, through files."""
    trace = read_trace(written(directory, "pods.csv", pods))
    return with_nodes(trace, *read_nodes(written(directory, "nodes.csv", nodes), warn=lambda _: None))


def options_of(value: object) -> SynthOptions:
    """Options as a file would state them."""
    return msgspec.convert(value, SynthOptions)


def scene_of(directory: Path, seed: int = 0, *, pods: int = 60, options: object = OPTIONS) -> Scene:
    """A small scene."""
    return synthesise(trace_of(directory, own_trace(seed, pods=pods)), options_of(options), seed=seed)
