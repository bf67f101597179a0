"""The traps of docs/spec/scheduling.md 13, each as a test of its number: `test_trap_NN_<what>`, on every engine.

Where a single decision shows the trap, the engine alone is asked. Where time, events or writes show it, a scheduler plays it over the
engine (`tests.parity.traps.playing`). `tests/codebase/test_traps.py` checks that none is missing.
"""
