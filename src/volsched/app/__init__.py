"""Builds and connects everything: the embedded cluster, the runner of deciders, and what the commands call.

Nobody but `cli` and users import this room; it may import every other.
"""
