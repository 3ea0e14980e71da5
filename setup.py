"""Where the packages lie; all else stands in pyproject.toml.

Two folders stay at the top of the repository and are packages below ``dce_ray`` all the same, so that no ``trainables``
or ``search_spaces`` of a user's own, in the working folder or installed, is ever taken for ours.
"""

from setuptools import find_packages, setup

AT_THE_TOP = {"dce_ray.trainables": "trainables", "dce_ray.search_spaces": "search_spaces"}

setup(packages=[*find_packages(include=["dce_ray", "dce_ray.*"]), *AT_THE_TOP], package_dir=AT_THE_TOP)
