"""Every command of the guides is one that its module takes: the keys exist, the values are of the right kind."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from dce_ray.commandline import parse
from dce_ray.datasets import import_options
from dce_ray.search.__main__ import request_of
from dce_ray.search.settings import CHANGEABLE, build_experiment
from dce_ray.train.configure import configure_for, spelled_out

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = [page for page in PAGES if page.stem not in ("README", "cluster", "results")]


def _untitled(page: Path) -> str:
    """The page without its blocks of a language."""
    return re.sub(r"^```\w.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of a block without a language that runs a module of ours but the cluster's."""
    found = []
    for page in GUIDES:
        for block in re.findall(r"^```\n(.*?)^```$", _untitled(page), flags=re.DOTALL | re.MULTILINE):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if re.search(r"-m dce_ray\.(?!cluster)", line)]
    return found


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """Files that commands of the guides name."""
    monkeypatch.chdir(tmp_path)
    for page in PAGES:
        for name, content in re.findall(r"```yaml title=(\S+)\n(.*?)```", page.read_text(), flags=re.DOTALL):
            (tmp_path / name).write_text(content)


def check_search(values: dict[str, object]) -> None:
    if values.pop("resume", None):
        assert values.keys() <= {*CHANGEABLE, "results"}  # where to bring what lies in a bucket
        return
    if values.get("baseline") == "linear":  # of the guide that adds it
        values["baseline"] = "delu"
    paths = [part for part in values.get("space.first_points", ()) if "/" in str(part)]
    if paths:
        values["space.first_points"] = ["paper"]
    build_experiment(request_of(values), "store", "synthetic")


def check_train(values: dict[str, object]) -> None:
    if values.pop("resume", None) or "config" in values:
        return
    values = spelled_out(values)
    import_options(values)
    configure_for({**values, "baseline": "delu"}, "store", "synthetic")


@pytest.mark.parametrize(("page", "line"), commands())
def test_the_command_is_one(page, line):
    words = shlex.split(line, comments=True)
    at = words.index("-m")
    module, rest = importlib.import_module(f"{words[at + 1]}"), words[at + 2 :]
    if not hasattr(module, "USAGE"):
        module = importlib.import_module(f"{words[at + 1]}.__main__")
    rest = [word for word in rest if not word.startswith(("results", "runs/"))]  # folders given without a key
    if rest and "=" not in rest[0]:
        assert re.search(rf"^python -m {re.escape(words[at + 1])} {rest[0]}\b", module.USAGE, flags=re.MULTILINE)
        rest = rest[1:]
    values = parse(rest)
    if words[at + 1] == "dce_ray.search":
        check_search(values)
    elif words[at + 1] == "dce_ray.train":
        check_train(values)
    else:
        for key in values:
            assert re.search(rf"(?<![\w.]){re.escape(key)}=", module.USAGE), key


def test_there_are_commands_and_a_wrong_one_is_seen():
    assert len(commands()) > 20
    with pytest.raises(ValueError, match="did you mean"):
        check_search({"search.num_rums": 3})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_no_two_guides_make_a_search_of_one_name_on_the_same_data():
    """Whoever follows one guide after the other would be refused, for the folder exists."""
    made: dict[tuple[str, str, str], list[str]] = {}
    for page in PAGES:
        lines = re.findall(r"(?:-m dce_ray\.search|make search) .*", page.read_text())
        for keys in (dict(re.findall(r"\b(baseline|data|name|results)=([^\s'`]+)", line)) for line in lines):
            if "name" in keys:
                place = (keys.get("results", "results"), keys.get("data", "synthetic"), keys.get("baseline", "delu"))
                made.setdefault((*place, keys["name"]), []).append(page.name)
    assert len(made) > 2
    assert [pages for pages in made.values() if len(pages) > 1] == []


def test_git_keeps_out_what_the_guides_write_in_a_checkout():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    targets = {f"/{found}/" for _, line in commands() for found in re.findall(r"\btarget=(\w+)/", line)}
    assert targets == {"/stores/"} & set(ignored)
