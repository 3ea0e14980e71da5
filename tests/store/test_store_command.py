"""``python -m dce_ray.store`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from dce_ray.errors import ConfigError
from dce_ray.store.__main__ import main


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dce_ray.store", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_import_info_verify_export(small, tmp_path):
    source, store = small(), tmp_path / "store"
    done = run("import", f"source={source}", f"target={store}", "dtype=float16")
    assert done.returncode == 0, done.stderr
    assert "Small: 6 videos (4 train, 2 test), 39 snippets, 7 instances" in done.stdout
    assert "0 videos repaired, 0 left out" in done.stdout
    assert "fps=25 is taken from extracted_fps.npy" in done.stderr
    assert "writing videos: 100%" in done.stderr
    assert json.loads((store / "import_report.json").read_text())["findings"] == []

    shown = run("info", f"store={store}").stdout
    for part in ("4 train, 2 test", "8 channels (4 RGB, 4 flow), float16", "25 fps, 16 frames per snippet = 0.64 s"):
        assert part in shown
    assert "  made by dce_ray " in shown
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["provenance"].pop("made_by")  # as another's store may be
    (store / "manifest.json").write_text(json.dumps(manifest))
    of_another = run("info", f"store={store}")
    assert (of_another.returncode, of_another.stderr) == (0, "")
    assert "made by" not in of_another.stdout
    classes = {tuple(line.split()) for line in shown.splitlines() if line.endswith("instances")}
    assert ("Jump", "3", "videos", "3", "instances") in classes

    assert "whole; 3 files" in run("verify", f"store={store}").stdout
    assert run("export", f"store={store}", f"target={tmp_path / 'out'}").returncode == 0
    assert len(np.load(tmp_path / "out" / "Small-I3D-JOINTFeatures.npy", allow_pickle=True)) == 6


def test_verify_finds_damage(small, tmp_path):
    store = tmp_path / "store"
    run("import", f"source={small()}", f"target={store}")
    content = bytearray((store / "features.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (store / "features.arrow").write_bytes(content)
    done = run("verify", f"store={store}")
    assert done.returncode == 2
    assert "features.arrow has a wrong SHA-256" in done.stderr
    assert "Traceback" not in done.stderr


def test_faults_end_with_status_2_and_one_message(small, tmp_path):
    def spoil(tables):
        tables["features"][1] = None

    done = run("import", f"source={small(spoil)}", f"target={tmp_path / 'store'}", "strict=true")
    assert done.returncode == 2
    assert "ImportFault: Small: 1 findings and strict=true" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_a_finding_is_printed_with_its_remedy(small, tmp_path, capsys):
    def spoil(tables):
        tables["features"][1] = None

    main(["import", f"source={small(spoil)}", f"target={tmp_path / 'store'}"])
    printed = capsys.readouterr().out
    assert "0 videos repaired, 1 left out" in printed
    assert "left out (1): no features; extract the features of this video again" in printed
    assert "Small-I3D-JOINTFeatures.npy, video_1: None" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "unknown command ''"),
        (["imprt"], "did you mean import"),
        (["import", "source=a"], "target= is missing"),
        (["import", "sorce=a", "target=b"], "did you mean source"),
        (["import", "source=a", "target=b", "fps=fast"], "fps='fast': must be a number"),
        (["import", "source=a", "target=b", "stride_frames=1.5"], "must be a whole number"),
        (["import", "source=a", "target=b", "strict=maybe"], "must be true or false"),
        (["verify"], "store= is missing"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        main(arguments)


def test_help_names_every_command():
    done = run("--help")
    assert done.returncode == 0
    for name in ("import", "info", "verify", "export"):
        assert f"dce_ray.store {name} " in done.stdout
