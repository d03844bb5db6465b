"""Package `synthzoo`: the one shared library that all bundles of the zoo name in their configs."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
source = (here / "synthzoo" / "__init__.py").read_text()
version = next(line.split('"')[1] for line in source.splitlines() if "__version__ =" in line)

setup(
    name="synthzoo",
    version=version,
    description="MONAI bundles for generative medical imaging: synthesis, translation, anomaly maps, privacy.",
    long_description=(here / "README.md").read_text() if (here / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["synthzoo", "synthzoo.*"]),
    package_data={
        "synthzoo": [
            "instruments/*/weights/*.pt",
            "instruments/*/weights/*.json",
            "bundle/schema/*.json",
            "bundle/inspect/*.txt",
            "bundle/skeleton/*",
        ]
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        "torch>=2.10",
        "monai>=1.6.1",
        "numpy>=1.26",
        "nibabel>=5.2",
        "pydicom>=2.4",  # MONAI's reader of DICOM series
        "pytorch-ignite>=0.5",
        "fire>=0.6",
        "nilearn>=0.12",
        "scipy>=1.11",
        "scikit-image>=0.22",
        "scikit-learn>=1.4",
        "pandas>=2.1",
        "matplotlib>=3.8",
        "tensorboard>=2.15",
        "safetensors>=0.4",
        "huggingface_hub>=0.23",
        "tqdm>=4.66",
        "pillow>=9",  # frames of MJPG videos, previews
        "einops>=0.7",  # MONAI's attention blocks import it and do not declare it
        "psutil>=5.9",
        "jsonschema>=3.2",  # pydicom-seg, which MONAI Label needs, declares < 4
    ],
    extras_require={
        # monailabel 0.8.5 needs numpy < 2, pydicom < 3 and has no wheels for Python 3.13; see docs/pins.md.
        "label": ["monailabel==0.8.5; python_version < '3.13'", "pydicom<3", "dicomweb-client<0.61", "numpy<2"],
        "slicer": ["trame-slicer[standalone]==2.0.0"],
        "web": ["trame-slicer[standalone]==2.0.0", "playwright>=1.44"],  # playwright for the page's tests
        "bench": ["monai-generative==0.2.3", "diffusers>=0.30"],
        "dev": [
            "pytest>=8",
            "pytest-timeout>=2.3",
            "ruff>=0.5",
            "pre-commit>=3.7",
            "torchvision>=0.20",
            "openapi-spec-validator>=0.7",
        ],
    },
)
