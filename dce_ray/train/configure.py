"""From what a user writes to a run's configuration: keys of the command line, a YAML file, presets of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dce_ray.commandline import apply, flatten
from dce_ray.config import SCALARS, RunConfig
from dce_ray.datasets import IMPORT_KEYS, build_on_data, import_options
from dce_ray.errors import ConfigError
from dce_ray.files import parse_yaml
from dce_ray.presets import run_config, run_config_from_mapping
from dce_ray.train.mirrored import MlflowOptions

COMMAND_KEYS: dict[str, Any] = {
    "config": None,
    "folder": None,
    "resume": None,
    "test": False,
    "tracking": MlflowOptions().to_mapping(),
    **dict.fromkeys(IMPORT_KEYS),
}
"""Keys of ``python -m dce_ray.train`` that are none of a run."""
LISTED = "python -m dce_ray.train keys lists those of runs, --help the command's own"
"""Where a user finds all keys of the command; an ablation takes those of runs, too."""
COMMAND_MEANINGS: dict[str, str] = {
    "config": "A YAML file with nested keys, laid over the presets (best.yaml of a search).",
    "folder": "Where the run is written; empty: runs/<data>/<baseline>/<time>.",
    "resume": "Folder of a stopped run that goes on; takes no other key but device= and tracking=.",
    "test": "Evaluate the selected weights on the test set, once, at the end.",
    "tracking": "Whether MLflow is told of the run (tracking=on), and where it is: tracking.uri=.",
}
"""What they mean."""


def configure(values: Mapping[str, Any]) -> tuple[RunConfig, dict[str, Any]]:
    """The run's configuration and the command's own keys, from values by dotted key.

    All keys are checked before the data is touched, so that a typo starts no import.

    Raises:
        DceError: naming everything that is wrong.
    """
    given = given_values(values)
    data = str(given.get("data", "synthetic"))
    importing = import_options(given)
    (config, options), _ = build_on_data(data, lambda store, data_set: configure_for(given, store, data_set), importing)
    return config, options


def spelled_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with every key under its own name: ``tracking=off`` is ``tracking.enabled=off``."""
    return {("tracking.enabled" if key == "tracking" else key): value for key, value in values.items()}


def given_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by dotted key, laid over those of the file that ``config`` names.

    Raises:
        ConfigError: the file cannot be read.
    """
    return dict(flatten(_read_config(values.get("config")))) | dict(values)


def scalars_given(values: Mapping[str, Any]) -> dict[str, str | None]:
    """Scalars that were given, by name: the name of the file that holds them, None where the command itself says them.

    Raises:
        ConfigError: the file cannot be read.
    """
    file = str(values.get("config"))
    sources = dict.fromkeys(flatten(_read_config(values.get("config"))), Path(file).name) | dict.fromkeys(values)
    return {name: sources[f"method.{name}"] for name in SCALARS if f"method.{name}" in sources}


def configure_for(given: Mapping[str, Any], store: str, data_set: str) -> tuple[RunConfig, dict[str, Any]]:
    """As :func:`configure`, for data that need not be there yet.

    Args:
        given: of :func:`given_values`; its ``data`` is not read.
        store: folder of the feature store.
        data_set: name in ``presets.DATA_SETS``.

    Raises:
        ConfigError: naming everything that is wrong.
    """
    baseline, preset = str(given.get("baseline", "delu")), given.get("preset")
    config = run_config(baseline, store, data_set=data_set, preset=preset)
    merged = apply(config.to_mapping() | COMMAND_KEYS, {**given, "data": store}, LISTED)
    options = {key: merged.pop(key) for key in COMMAND_KEYS}
    return run_config_from_mapping(merged | {"preset": config.preset}), options


def _read_config(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    import yaml  # here: a bare GPU box without it trains from mappings

    try:
        content = parse_yaml(Path(path).read_text())
    except OSError as fault:
        best = Path(path) / "best.yaml"
        there = f", such as config={best}" if best.is_file() else ""
        raise ConfigError(f"config={path}: cannot be read ({fault.strerror}); give a YAML file{there}") from fault
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise ConfigError(f"config={path}: not YAML ({' '.join(str(fault).split())})") from fault
    if not isinstance(content, dict):
        raise ConfigError(f"config={path}: holds no keys; write nested keys such as method: {{delta: 0.7}}")
    return content
