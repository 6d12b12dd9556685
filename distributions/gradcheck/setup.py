"""Packaging of gradcheck alone: the wheel gradcheck-numpy, from the same source as the gradcheck in numrnn."""

import os
import pathlib
import re

from setuptools import setup

here = pathlib.Path(__file__).resolve().parent
root = here.parents[1]
version = re.search(r'__version__ = "(.+?)"', (root / "gradcheck" / "__init__.py").read_text(encoding="utf-8")).group(1)
repository = re.search(r'repository-code: "(.+)"', (root / "CITATION.cff").read_text(encoding="utf-8")).group(1)
os.chdir(here)  # setuptools takes package_dir relative to the current directory

setup(
    name="gradcheck-numpy",
    version=version,
    description="Verifies gradients written by hand, and says what is wrong with them",
    long_description=(root / "docs" / "gradcheck.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The numrnn authors",
    url=repository,
    license_expression="MIT",  # SPDX
    python_requires=">=3.11",
    packages=["gradcheck"],
    package_dir={"gradcheck": "../../gradcheck"},
    package_data={"gradcheck": ["py.typed"]},
    entry_points={"pytest11": ["gradcheck = gradcheck.pytest_plugin"]},
    install_requires=["numpy>=2.0"],
    classifiers=[
        "Programming Language :: Python :: 3",
        "Framework :: Pytest",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Mathematics",
    ],
)
