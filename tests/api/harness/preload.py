"""Libraries that stand between the program and the system's."""
from __future__ import annotations

import subprocess
from pathlib import Path


def build_library(folder: Path, source: str) -> Path:
    """For `settings.preloaded`."""
    code, library = folder / "preload.c", folder / "preload.so"
    code.write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(code)], check=True)
    return library
