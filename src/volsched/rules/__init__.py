"""Kubernetes semantics without state: selectors, topology, claim-volume matching, resources, CSI translation.

Pure functions over API objects.
"""
