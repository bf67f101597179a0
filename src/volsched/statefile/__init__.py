"""State files: one SQLite database each, that outlives the process which writes it.

    stamp   whose file is it, and of which version?  read as plain bytes, before SQLite may touch anything
    lock    one process writes at a time; the kernel lets go when the process ends, however it ends
    file    opening, creating, migrating, looking; the settings that make a commit durable; errors as one clear line

The tables and what they mean belong to the rooms that keep something: `store.journal` for a cluster, `csi.journal` for a driver. What
survives what, and which setting sees to it: docs/state-files.md.
"""

from volsched.statefile.file import Format, StateFile

__all__ = ["Format", "StateFile"]
