"""Build file. `examples/scripts/setup.sh` prepares an environment from a lock, then installs this with --no-deps."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


setup(
    name="pure-rlhf",
    version="0.1.0",
    description="PURE: process-reward reinforcement learning for language models, on OpenRLHF",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(
        include=["pure_rlhf*", "code_sandbox*", "prm_training*", "evaluation*", "data_preparation*"]
    ),
    package_data={
        "pure_rlhf": ["cli/*.txt"],
        "prm_training": ["*.json", "*.sh"],
        "evaluation": ["*.json", "*.sh"],
    },
    install_requires=requirements("requirements.txt"),
    extras_require={
        "gpu": requirements("requirements/gpu.in"),
        "cpu": requirements("requirements/cpu.in"),
        "wandb": ["wandb-workspaces>=0.4,<0.5"],
        "mlflow": ["mlflow-skinny>=3,<4"],
    },
    entry_points={
        "console_scripts": [
            "pure-rlhf-train = pure_rlhf.cli.train_pure:main",
            "pure-rlhf-doctor = pure_rlhf.cli.doctor:main",
            "pure-rlhf-report = pure_rlhf.cli.report:main",
            "pure-rlhf-evaluate = evaluation.evaluate:main",
            "pure-rlhf-evaluate-prm = evaluation.evaluate_prm:main",
        ]
    },
)
