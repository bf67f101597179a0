"""Own plugins by name: handed over, or offered by an installed package as an entry point."""

from __future__ import annotations

from pathlib import Path

import pytest

from volsched import Cluster
from volsched.errors import InputError
from volsched.scheduler.configuration.registry import GROUP

EXAMPLE = Path(__file__).parents[3] / "examples" / "scheduling_plugin"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's package as an installer leaves it: importable, and with the metadata that name its entry points."""
    about = tmp_path / "licences-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: licences\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{GROUP}]\nLicences = licences:Licences\nBroken = licences:Nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    return tmp_path


def _config(folder: Path, plugin: str) -> Path:
    path = folder / "config.yaml"
    path.write_text((EXAMPLE / "config.yaml").read_text().replace("Licences", plugin))
    return path


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_an_entry_point_is_found_by_the_name_in_a_configuration(installed: Path, engine: str) -> None:
    with Cluster(seed=1, engine=engine, config=EXAMPLE / "config.yaml") as cluster:
        cluster.load(EXAMPLE / "cluster.yaml")
        cluster.run_for(10)
        assert {pod.metadata.name: pod.spec.nodeName for pod in cluster.list("Pod")} == {
            "draw-1": "studio",
            "draw-2": None,
            "office": "plain",
            "paint": None,
            "render-1": None,  # waits for a second one
        }
        cluster.run_for(40)  # longer than its patience
        (condition,) = cluster.get("Pod", "render-1").status.conditions
        assert "Licences" in condition.message


def test_an_unknown_plugin_is_told_with_what_there_is(installed: Path) -> None:
    with pytest.raises(
        InputError, match=r'no plugin "Nobody".*entry point of the group volsched.plugins.*own plugins known: Broken, Licences'
    ):
        Cluster(config=_config(installed, "Nobody"))


def test_an_entry_point_that_cannot_be_loaded(installed: Path) -> None:
    with pytest.raises(InputError, match=r"plugin Broken: entry point licences:Nothing of the group volsched\.plugins cannot be loaded"):
        Cluster(config=_config(installed, "Broken"))
