"""CSI: a fake storage driver that keeps real bytes, and the two ways to reach a driver.

    CsiClient (ports)                      FakeDriver (backend.py): one call in, one answer or CsiError out
      ├── InProcessClient ───────────────>   ├── identity, controller, snapshots, node: the rules of each service
      └── GrpcClient ══ unix socket ══ CsiServer ─>  ├── topology: where a volume may live
                                               ├── state: what was acknowledged, optionally in one SQLite file
                                               └── data: the bytes, in memory or in a directory

Only `client`, `server`, `wire` and `_pb` know gRPC and protobuf; everything else is plain Python and runs without the extra `csi`.
Source: CSI specification v1.12; spec/volumes.md section 6.
"""
