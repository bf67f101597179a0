"""Traces of large clusters, replayed with volumes on a virtual clock.

    trace ──readers──> columns ──synth──> Scene ──simulation──> EventLog ──summary, tables──> what came of it

`readers`: openb, DLRM, own CSV and Parquet, kube dumps.  `options`, `synth`: storage laid over a compute trace.
`plan`: what happens to nodes.  `simulation`: time, and the scheduler's queue between events.
`placing`: the engine, asked in batches or pod by pod.  `storage`: claims, pools, disks.
`log`: what happened, and its hash; `summary` and `tables` know nothing but the log.
"""
