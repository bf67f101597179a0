"""Where a volume may live: the answer of CreateVolume to a TopologyRequirement, as a pure function.

With x = `count` topologies from which the volume will be reachable and n requisite terms: x = n takes exactly all of requisite, x < n takes
x different members of it, x > n takes all of it and others. `preferred` terms are tried first, in order. A term may leave keys open; any
segment that has all of its pairs serves it. Source: CSI specification v1.12, TopologyRequirement; spec/volumes.md 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from volsched.api.csi import Topology, TopologyRequirement
from volsched.csi.profile import Segments


def covers(segments: Segments, term: Segments) -> bool:
    """Whether every pair of `term` occurs in `segments`. An empty term is covered by anything."""
    return all(segments.get(key) == value for key, value in term.items())


def reaches(topologies: Sequence[Segments], segments: Segments) -> bool:
    """Whether a volume with these accessible topologies is reachable from a place with `segments`. None at all = everywhere."""
    return not topologies or any(covers(segments, topology) for topology in topologies)


def terms_of(requirement: TopologyRequirement | None) -> list[Segments]:
    """The terms of a requirement in the order to try them, each once: preferred, then the rest of requisite."""
    found: list[Segments] = []
    for topology in (*requirement.preferred, *requirement.requisite) if requirement is not None else ():
        if topology.segments not in found:
            found.append(topology.segments)
    return found


def satisfied(topologies: Sequence[Segments], requirement: TopologyRequirement | None) -> bool:
    """Whether a volume that exists meets a requirement: reachable from at least one requisite (or, without any, preferred) term."""
    if requirement is None or not topologies:
        return True
    wanted = requirement.requisite or requirement.preferred
    return not wanted or any(covers(have, term.segments) or covers(term.segments, have) for have in topologies for term in wanted)


def place(
    requirement: TopologyRequirement | None,
    *,
    known: Sequence[Segments],
    open_world: bool,
    usable: Callable[[Segments], bool],
    count: int,
    first_only: bool = False,
) -> list[Segments] | None:
    """The segments for a new volume, in the order of preference; empty = no topology applies; None = impossible.

    known: every segment there is, in the driver's order. open_world: a term that no known segment has stands for itself.
    usable: whether a segment can take the volume (room, source readable there). first_only: the first term or nothing.
    """
    requisite = [topology.segments for topology in requirement.requisite] if requirement is not None else []
    terms = terms_of(requirement)
    chosen: list[Segments] = []

    def candidates(term: Segments) -> Iterator[Segments]:
        fitting = [segments for segments in known if covers(segments, term)]
        if open_world and term not in fitting and not (fitting and len(term) < len(fitting[0])):
            fitting.append(term)
        return (segments for segments in fitting if segments not in chosen and usable(segments))

    if first_only and terms:
        found = next(candidates(terms[0]), None)
        return None if found is None else [found]
    unmet = 0
    for term in terms:
        if len(chosen) == count:
            break
        found = next(candidates(term), None)
        if found is not None:
            chosen.append(found)
        elif term in requisite and not any(covers(segments, term) for segments in chosen):
            unmet += 1
    distinct = len({tuple(sorted(term.items())) for term in requisite})
    if requisite and (unmet if count >= distinct else len(chosen) < count):
        return None
    for segments in known:
        if len(chosen) == count:
            break
        if segments not in chosen and usable(segments):
            chosen.append(segments)
    if len(chosen) == count:
        return chosen
    # Nothing was asked for and nothing is known: the driver has no place to name.
    return [] if not terms and not known and open_world else None


def as_messages(topologies: Sequence[Segments]) -> list[Topology]:
    """As Volume.accessible_topology."""
    return [Topology(segments=dict(segments)) for segments in topologies]
