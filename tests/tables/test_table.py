"""Tables: rows by name in their order, unknown and doubled names refused, and plugins that add rows once."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from flowerti.tables import Table, load_plugins, plugins, plugins_environment


@dataclass(frozen=True)
class Kind:
    name: str
    size: int = 0


@pytest.fixture
def table() -> Table[Kind]:
    return Table("kind", [Kind("b", 2), Kind("a", 1)])


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that counts how often its function is called; the environment is put back afterwards."""
    (tmp_path / "made_here.py").write_text("calls = []\ndef register():\n    calls.append(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FLOWERTI_PLUGINS", "")
    monkeypatch.setattr(plugins, "_loaded", set())
    return "made_here:register"


def test_rows_are_found_by_name_and_keep_their_order(table: Table[Kind]):
    assert table["a"] == Kind("a", 1)
    assert table.names == ("b", "a")
    assert [row.size for row in table] == [2, 1]
    assert "a" in table
    assert "c" not in table


def test_an_unknown_name_is_refused_with_those_that_exist(table: Table[Kind]):
    with pytest.raises(ValueError, match=r"^unknown kind 'c': choose among b, a$"):
        table["c"]


def test_a_name_is_given_once(table: Table[Kind]):
    assert table.add(Kind("c")) == Kind("c")
    with pytest.raises(ValueError, match="kind 'c' exists already"):
        table.add(Kind("c", 5))
    assert table.names == ("b", "a", "c")


def test_rows_may_be_added_while_others_are_gone_through(table: Table[Kind]):
    for row in table:
        table.add(Kind(f"{row.name}{row.name}"))
    assert table.names == ("b", "a", "bb", "aa")


def test_a_plugin_is_called_once_and_named_to_other_processes(plugin: str, table: Table[Kind]):
    assert plugins_environment() == {}
    load_plugins([plugin])
    load_plugins([plugin])
    assert table["a"] == Kind("a", 1)
    assert sys.modules["made_here"].calls == [1]
    assert plugins_environment() == {"FLOWERTI_PLUGINS": plugin}


def test_another_process_calls_the_plugin_when_it_first_asks_a_table(plugin: str, tmp_path: Path):
    script = "import sys; from flowerti.tables import Table; t = Table('kind'); assert 'made_here' not in sys.modules; "
    script += "t.names; assert sys.modules['made_here'].calls == [1]"
    environment = os.environ | {"FLOWERTI_PLUGINS": plugin, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)


def test_every_module_of_settings_can_be_the_first_that_a_worker_imports(tmp_path: Path):
    """A table asked while the package's modules are being imported would call a plugin too early."""
    lines = ["from flowerti.config.experiment import to_json, Experiment", "def register(): pass"]
    (tmp_path / "imports_us.py").write_text("\n".join(lines))
    script = """
import importlib, pkgutil, sys
names = [m.name for p in ("tables", "config") for m in pkgutil.iter_modules(["flowerti/" + p], f"flowerti.{p}.")]
for name in names:
    for old in [o for o in sys.modules if o.split(".")[0] in ("flowerti", "imports_us")]:
        del sys.modules[old]
    importlib.import_module(name)
    importlib.import_module("flowerti.tables").Table("kind").names
    assert "imports_us" in sys.modules, name
print(len(names))
"""
    path = f"{tmp_path}{os.pathsep}{os.getcwd()}"
    environment = os.environ | {"FLOWERTI_PLUGINS": "imports_us:register", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 20


@pytest.mark.parametrize(
    "name", ["os:abort", "made_here:calls", "made_here", "json:register", "no_such_module:register"]
)
def test_a_plugin_that_cannot_be_called_is_refused(name: str, plugin: str):
    with pytest.raises(ValueError, match=r"^plugins names ") as caught:
        load_plugins([plugin, name])
    assert repr(name) in str(caught.value)
    assert plugins_environment() == {}, "processes that are started later would be refused as well"
