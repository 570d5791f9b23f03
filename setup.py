"""Puts the small trained models of `saved_models/` into the wheel; all else is in pyproject.toml."""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).resolve().parent / "saved_models"


class BuildWithModels(build_py):
    """Copies the models that the index calls bundled, and the index."""

    def run(self):
        """See setuptools."""
        super().run()
        if getattr(self, "editable_mode", False):
            return  # a checkout reads its own
        target = Path(self.build_lib) / "keras_fracture" / "saved_models"
        models = json.loads((SOURCE / "index.json").read_text(encoding="utf-8"))["models"]
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        shutil.copy2(SOURCE / "index.json", target)
        for name in (name for name, entry in models.items() if entry["bundled"]):
            shutil.copytree(SOURCE / name, target / name)


setup(cmdclass={"build_py": BuildWithModels})
