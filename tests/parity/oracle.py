"""Asks kube-scheduler's own code about random clusters and compares what the engines decide.

    python -m tests.parity.oracle --cases 20000 [--first 0] [--engine native|reference|both] [--profiles] [--record FILE]

The oracle program (tests/oracle, built by `make oracle`) is named by VOLSCHED_ORACLE or --program. It asks every case several times and
answers only where the scheduler always said the same. Go's maps do not shuffle fairly, so a case that an engine decides differently is
asked many times more before anybody believes it. Input that the scheduler dies on takes the program with it: such a case is counted
as dead, and another program is started for the next. A case that stays different is made small and printed as a JSON line, which
`volsched verdict` reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

from lightkube.models.core_v1 import Pod

from tests.parity.compare import difference
from tests.parity.configurations import Configurations
from tests.parity.mixture import Mixture
from tests.parity.shrinking import shrink
from volsched.api.defaults import with_defaults
from volsched.api.kinds import Object, key_of, to_manifest
from volsched.api.manifest import from_manifest
from volsched.app.cases import decision_fields, profile_of
from volsched.app.engines import ENGINES, make_engine
from volsched.engine.decision import SchedulingEngine
from volsched.engine.profile import EngineProfile
from volsched.errors import InputError

Json = Any
ASKS: Final = 2
ASKS_TO_BELIEVE: Final = 40
RECORDED_NODES_MAX: Final = 8
AHEAD: Final = 4  # cases that the oracle may be ahead of the engines
DIED: Final[Mapping[str, Json]] = {"dead": True}


class Oracle:
    """The program, running. One case at a time."""

    def __init__(self, program: str, *, asks: int = ASKS) -> None:
        self._command = [program, f"-asks={asks}"]
        self._running: subprocess.Popen[str] | None = None

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.communicate()
            self._running = None

    def ask(self, case: Mapping[str, Json]) -> dict[str, Json]:
        """The scheduler's verdict, `{"varied": true}` where it has several, or `DIED`."""
        if self._running is None:
            self._running = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        assert self._running.stdin is not None and self._running.stdout is not None
        try:
            self._running.stdin.write(json.dumps(case) + "\n")
            self._running.stdin.flush()
            answer = self._running.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._stop()
            return dict(DIED)
        return dict(json.loads(answer))


# Cases ------------------------------------------------------------------------------------------------------------------------------------


def mixed_case(seed: int) -> dict[str, Json]:
    """A cluster of every family: up to 40 nodes, one in sixteen up to 130."""
    chance = random.Random(f"mixture {seed}")
    nodes = 1 + chance.randrange(40) if chance.randrange(16) else 41 + chance.randrange(90)
    return _case(str(seed), chance, Mixture(chance, nodes=nodes))


def profile_case(seed: int) -> dict[str, Json]:
    """The same with a configuration of its own. Up to 24 nodes, one in 32 of them up to 130."""
    chance = random.Random(f"profile {seed}")
    mixture = Mixture(chance, nodes=1 + chance.randrange(24) if chance.randrange(32) else 25 + chance.randrange(106))
    return {**_case(f"profile-{seed}", chance, mixture), "config": Configurations(chance, mixture).configuration()}


def _case(name: str, chance: random.Random, mixture: Mixture) -> dict[str, Json]:
    situation = mixture.situation(pods=1)
    case = {
        "id": name,
        "objects": [to_manifest(obj) for obj in situation.objects],
        "pod": to_manifest(situation.pods[0]),
        "percentage": 100 if chance.randrange(2) else 0,
    }
    return case if chance.randrange(3) else {**case, "before": _before(case["objects"], chance, mixture.nodes)}


def _before(objects: Sequence[Json], chance: random.Random, nodes: int) -> list[Json]:
    """Another cluster with objects of the same names, which an engine is to have seen and decided on before.

    Nodes have the labels and images that they keep: order and image counts are the only things that a cluster's past may show in.
    """
    earlier = [to_manifest(obj) for obj in Mixture(chance, nodes=nodes).situation(pods=0).objects]
    was = {obj["metadata"]["name"]: obj for obj in earlier if obj["kind"] == "Node"}
    made = []
    for node in objects:
        if node["kind"] == "Node":
            old = was[node["metadata"]["name"]]
            status = {**node["status"], "allocatable": old["status"]["allocatable"]}
            made.append({**node, "spec": old.get("spec", {}), "status": status})
    return made + [obj for obj in earlier if obj["kind"] != "Node"]


# Comparing --------------------------------------------------------------------------------------------------------------------------------


class Question(NamedTuple):
    """A case, read: defaults applied, the configuration's profile worked out. `refused`: why there is none."""

    objects: list[Object]
    pod: Pod
    before: list[Object]
    profile: EngineProfile
    percentage: int
    refused: str = ""


def read(case: Mapping[str, Json]) -> Question:
    """Raises InputError for objects that cannot be decoded."""
    objects, before = ([_read(obj) for obj in case.get(field, ())] for field in ("objects", "before"))
    pod = _read(case["pod"])
    try:
        profile = profile_of(case, pod) or EngineProfile()
    except InputError as problem:
        return Question(objects, pod, before, EngineProfile(), 100, str(problem))
    percentage = profile.percentage_of_nodes_to_score
    return Question(objects, pod, before, profile, case.get("percentage", 100) if percentage is None else percentage)


def _read(value: Json) -> Any:
    return with_defaults(from_manifest(value, lenient=True))


def decide(asked: Question, name: str) -> dict[str, Json]:
    """The engine's verdict with what the oracle tells beside it: nodes in order, and the choice with kube-scheduler's tie break."""
    if asked.refused:
        return {"refused": asked.refused}
    engine: SchedulingEngine = make_engine(name, tie_break="kube")
    whole = with_percentage(asked.profile, 100)
    for obj in asked.before:
        engine.upsert(obj)
    if asked.before:
        # so that what an engine keeps for pods like this one has to follow all the changes
        engine.decide(asked.pod, profile=whole)
    stay = {key_of(obj) for obj in asked.objects}
    for obj in asked.before:
        if (key := key_of(obj)) not in stay:
            engine.remove(*key)
    for obj in asked.objects:
        engine.upsert(obj)
    decision = engine.decide(asked.pod, profile=whole)
    # a profile that scores nothing takes the first node that fits, and the next search would go on behind it
    is_whole = asked.percentage == 100 or not asked.profile.scores
    chosen = decision if is_whole else engine.decide(asked.pod, profile=with_percentage(asked.profile, asked.percentage))
    choice = {"node": chosen.node, "feasible": len(chosen.feasible())} if chosen.node is not None else None
    return {**decision_fields(decision), "order": engine.node_names(), "choice": choice}


def with_percentage(profile: EngineProfile, percentage: int) -> EngineProfile:
    return dataclasses.replace(profile, percentage_of_nodes_to_score=percentage)


def compare(asked: Question, said: Mapping[str, Json], name: str) -> str | None:
    """What the engine decides differently, None when nothing."""
    try:
        answer = decide(asked, name)
    except Exception as problem:  # whatever it is, upstream has an answer
        return f"raised: {type(problem).__name__}: {problem}"
    if said.get("refused") or answer.get("refused"):
        both = said.get("refused") and answer.get("refused")
        return None if both else f"refused: recorded {said.get('refused')}, decided {answer.get('refused')}"
    if (found := difference({"expect": said}, answer)) is not None:
        return found
    if said.get("error") != answer.get("error"):  # recordings leave the text out, but here it stands
        return f"error: recorded {said.get('error')!r}, decided {answer.get('error')!r}"
    if said.get("order", answer["order"]) != answer["order"]:
        return f"order: recorded {said['order']}, decided {answer['order']}"
    wanted, choice = said.get("choice"), answer["choice"]
    if wanted is not None and choice != {"node": wanted["node"], "feasible": wanted["feasible"]}:
        return f"choice: recorded {wanted}, decided {choice}"
    return None


def is_trusted(said: Mapping[str, Json]) -> bool:
    return not (said.get("varied") or said.get("dead"))


@dataclasses.dataclass
class Tally:
    """What became of the cases."""

    asked: int = 0
    trusted: int = 0
    varied: int = 0
    dead: list[str] = dataclasses.field(default_factory=list)
    differing: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)  # case -> engine -> what
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)

    def count(self, said: Mapping[str, Json], case_id: str) -> None:
        self.asked += 1
        if said.get("dead"):
            self.dead.append(case_id)
        elif said.get("varied"):
            self.varied += 1
        else:
            self.trusted += 1
            self.outcomes[outcome(said)] += 1

    def withdraw(self, said: Mapping[str, Json]) -> None:
        """Count a case that was trusted as one on which the scheduler varies."""
        self.trusted -= 1
        self.varied += 1
        self.outcomes[outcome(said)] -= 1

    def text(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        return (
            f"{self.asked} asked, {self.trusted} trusted, {self.varied} varied, {len(self.dead)} dead, "
            f"{len(self.differing)} differ ({outcomes})"
        )


def outcome(said: Mapping[str, Json]) -> str:
    """In a word, for a tally that shows what the cases were about."""
    for name in ("refused", "error", "prefilter"):
        if said.get(name):
            return name
    fitting = len(said.get("feasible") or ())
    return "none fit" if not fitting else "one fits" if fitting == 1 else "several fit"


def answered(oracle: Oracle, cases: Iterable[dict[str, Json]]) -> Iterator[tuple[dict[str, Json], dict[str, Json]]]:
    """Cases with what the oracle says; it works ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting: list[tuple[dict[str, Json], Future[dict[str, Json]]]] = []
        for case in cases:
            waiting.append((case, pool.submit(oracle.ask, case)))
            if len(waiting) > AHEAD:
                first, future = waiting.pop(0)
                yield first, future.result()
        for case, future in waiting:
            yield case, future.result()


def compared(case: Mapping[str, Json], said: Mapping[str, Json], names: Iterable[str], doubting: Oracle) -> dict[str, str] | None:
    """Engine -> what it decides differently. None: the scheduler varies after all, as `doubting`, which asks often, finds out."""
    asked = read(case)
    wrong = {name: found for name in names if (found := compare(asked, said, name)) is not None}
    return None if wrong and doubting.ask(case) != said else wrong


def recorded(case: Mapping[str, Json], said: Mapping[str, Json]) -> str:
    """A line of the recorded decisions. What a case was before is not for those: a verdict is about one cluster."""
    expect = {key: value for key, value in said.items() if key not in ("id", "order", "choice")}
    return json.dumps({**{key: case[key] for key in case if key not in ("before", "percentage")}, "expect": expect}) + "\n"


def made_small(case: dict[str, Json], oracle: Oracle, name: str, found: str) -> dict[str, Json]:
    """The case without all that its difference, in the same field, does not need."""
    about, kind = _field(found), outcome(oracle.ask(case))

    def fails(candidate: dict[str, Json]) -> bool:
        said = oracle.ask(candidate)
        if not is_trusted(said) or outcome(said) != kind:
            return False
        still = compare(read(candidate), said, name)
        return still is not None and _field(still) == about

    return shrink(case, fails)


def _field(found: str) -> str:
    """The field that a difference is in, whatever the node."""
    return re.split(r"[\[:]", found)[0]


# The command ------------------------------------------------------------------------------------------------------------------------------


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.oracle", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="both")
    parser.add_argument("--profiles", action="store_true", help="give every case a scheduler configuration of its own")
    parser.add_argument("--asks", type=int, default=ASKS, help="how often each case is asked")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help=f"write the trusted cases of at most {RECORDED_NODES_MAX} nodes with their verdicts, gzipped JSON lines",
    )
    parser.add_argument("--keep", type=int, default=3, help="how many differing cases are made small")
    parser.add_argument("--program", default=os.environ.get("VOLSCHED_ORACLE"), help="the oracle program")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    arguments = _arguments(given)
    if not arguments.program:
        print("VOLSCHED_ORACLE does not name the oracle program: `make oracle` builds it (needs Go)", file=sys.stderr)
        return 2
    engines = ENGINES if arguments.engine == "both" else (arguments.engine,)
    tally, began, shown = Tally(), time.monotonic(), time.monotonic()
    seeds = range(arguments.first, arguments.first + arguments.cases)
    with ExitStack() as stack:
        oracle = stack.enter_context(Oracle(arguments.program, asks=arguments.asks))
        doubting = stack.enter_context(Oracle(arguments.program, asks=ASKS_TO_BELIEVE))
        record = stack.enter_context(gzip.open(arguments.record, "wt")) if arguments.record else None
        for case, said in answered(oracle, map(profile_case if arguments.profiles else mixed_case, seeds)):
            tally.count(said, case["id"])
            if is_trusted(said):
                wrong = compared(case, said, engines, doubting)
                if wrong is None:
                    tally.withdraw(said)
                    continue
                for name, found in wrong.items():
                    print(f"case {case['id']}, {name}: {found[:2000]}", flush=True)
                    if len(tally.differing) < arguments.keep:
                        print(json.dumps(made_small(case, doubting, name, found)), flush=True)
                if wrong:
                    tally.differing[case["id"]] = wrong
                elif (
                    record is not None
                    and not said.get("refused")
                    and sum(obj["kind"] == "Node" for obj in case["objects"]) <= RECORDED_NODES_MAX
                ):
                    record.write(recorded(case, said))
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                print(f"{shown - began:.0f} s: {tally.text()}", file=sys.stderr, flush=True)
    print(f"seeds {seeds.start} to {seeds.stop - 1}, {time.monotonic() - began:.0f} s: {tally.text()}")
    if tally.dead:
        print("dead: " + " ".join(tally.dead))
    return 1 if tally.differing else 0


if __name__ == "__main__":
    sys.exit(main())
