"""Controllers: what Kubernetes and the CSI sidecars do with claims, volumes, snapshots, attachments and pods.

    watch event ──observe──> own view ──> work items ──work──> facts ──decision table──> intents, one at a time
                                ^                                                           │
                                └──────────── answers of own writes ────────────────────────┘

Every controller is a Decider (ports.decider): it keeps its own view, decides by key, and acts only by yielding intents. A pass may end
between any two of them, by an error or because the process died; the next pass starts from what the API server holds, so nothing that
matters is kept in memory alone. Where upstream names states or rows, they are a table here, and a test walks all its combinations.

`pv_binder` binds claims and volumes; `protection` holds finalizers; `ephemeral` makes the claims of generic ephemeral volumes; `garbage`
deletes what has lost its owners; `attach_detach` and `attacher` attach volumes to nodes, the cluster's half and a driver's; `kubelet`
mounts volumes and runs pods; `provisioner` makes and deletes volumes through CSI; the `snapshot_` modules are the snapshot controller and
its sidecar. `agenda`, `capabilities`, `claim_users`, `csi_common` and `decision_table` are shared by them.
"""
