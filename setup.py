"""Packaging. Everything that only tools need is in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

here = pathlib.Path(__file__).parent
version = re.search(r'__version__ = "(.+?)"', (here / "numrnn" / "__init__.py").read_text(encoding="utf-8")).group(1)
repository = re.search(r'repository-code: "(.+)"', (here / "CITATION.cff").read_text(encoding="utf-8")).group(1)
# A link to a file of the repository, outside blocks of code.
LINK = re.compile(r"(!?)(\[(?:[^\[\]]|\[[^\[\]]*\])*\])\((?![a-z]+:|#)([^)\s]+)\)")


def absolute(text):
    """Return a page with absolute links to the files of this version: a package index has no files beside the page."""

    def one(match):
        picture, label, target = match.groups()
        folder = (here / target.partition("#")[0]).is_dir()
        kind = "raw" if picture else "tree" if folder else "blob"
        return f"{picture}{label}({repository}/{kind}/v{version}/{target})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else LINK.sub(one, part) for i, part in enumerate(parts))


EXAMPLES = ["matplotlib>=3.8", "tqdm>=4.66", "pooch>=1.8"]
SWEEP = ["distributed>=2025.1"]  # workers on this machine or many, tasks of a worker that dies started again
DOCS = [
    "sphinx>=8.1",
    "myst-parser>=4.0",
    "furo>=2024.8.6",
    "numpydoc>=1.8",
    "sphinx-copybutton>=0.5",
    "latex2mathml>=3.77",  # formulas as MathML, which browsers draw themselves: no script, no network
]
PACKAGE = ["setuptools>=77", "build>=1.2", "twine>=6.1", "check-wheel-contents>=0.6"]  # `make package`
GPU_CUDA12 = ["cupy-cuda12x[ctk]>=14.0"]

setup(
    name="numrnn",
    version=version,
    description="The AntisymmetricRNN in NumPy and CuPy: every gradient written by hand, and verified",
    long_description=absolute((here / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author="The numrnn authors",
    url=repository,
    project_urls={
        "Documentation": f"{repository}/tree/v{version}/docs",
        "Source": repository,
        "Changelog": f"{repository}/blob/v{version}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Paper": "https://arxiv.org/abs/1902.09689",
    },
    license_expression="MIT",  # SPDX
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["numrnn", "numrnn.*", "gradcheck", "gradcheck.*"]),
    package_data={
        "numrnn": ["py.typed"],
        "numrnn.datasets": ["embedded/*"],
        "numrnn.engines.cuda": ["*.cu", "*.cuh"],
        "numrnn.engines.cuda.trace": ["*.cu"],
        "numrnn.experiments.presets": ["*.toml"],
        "gradcheck": ["py.typed"],
    },
    entry_points={
        "console_scripts": ["numrnn = numrnn.__main__:main"],
        "pytest11": ["gradcheck = gradcheck.pytest_plugin"],
    },
    install_requires=["numpy>=2.0", "scipy>=1.13", "threadpoolctl>=3.5"],
    extras_require={
        "examples": EXAMPLES,
        "sweep": SWEEP,
        # ctk: NVRTC, cuBLAS and the others as wheels, so that nothing but the driver need be there.
        "gpu": GPU_CUDA12,
        "gpu-cuda12": GPU_CUDA12,
        "gpu-cuda13": ["cupy-cuda13x[ctk]>=14.0"],
        "torch": ["torch>=2.4"],  # for numrnn.interop.torch
        "docs": [*DOCS, "scikit-learn>=1.6"],  # the site: `make docs`
        "dev": [
            *EXAMPLES,
            *SWEEP,
            *DOCS,
            "pytest>=8.2",
            "pytest-timeout>=2.3",
            "hypothesis>=6.100",
            "array-api-strict>=2.4",
            "sybil>=9.0",
            "scikit-learn>=1.6",  # whose checks numrnn.estimators passes; it works without, too
            *PACKAGE,
            "nbclient>=0.10",  # runs the notebooks as their readers do, in a kernel
            "nbformat>=5.10",
            "ipykernel>=6.29",
            "playwright>=1.50",  # drives the system's Chromium through docs/play and the site
            "ruff>=0.8",
            "codespell>=2.3",
            "mypy>=1.13",
            # The compiler of the CUDA kernels, which needs no GPU to show that they compile: 58 MB.
            "nvidia-cuda-nvrtc>=13.0; platform_system == 'Linux' and platform_machine == 'x86_64'",
            # Prints their machine code, whose instructions the tests count: 6 MB.
            "nvidia-cuda-nvdisasm>=13.0; platform_system == 'Linux' and platform_machine == 'x86_64'",
        ],
        # torch first and pinned: it is an oracle for values, and a new version must not silently become one.
        # pyright is a second reader of the types, with a Node of its own: too large for CI.
        "oracle": ["torch==2.13.0", "torchrecurrent==0.2.5", "pyright[nodejs]>=1.1.400"],
        "checkers": ["torch==2.13.0", "jax>=0.10", "autograd>=1.8", "numdifftools>=0.9.41"],
        "benchmarks": ["torch==2.13.0", "torchrecurrent==0.2.5", "jax>=0.10", *EXAMPLES],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Operating System :: OS Independent",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
