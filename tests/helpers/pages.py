"""The blocks of code of a page of the documentation, and how a reader runs them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

from helpers import ROOT

#: A block that does not stand alone begins so.
GOES_ON = "# goes on from above"


def blocks(page: str, *languages: str) -> list[tuple[str, str]]:
    """Return (language, code) of the blocks of a page in order, of these languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    return [(language, code) for language, code in found if language in languages]


def run_as_a_reader(page: str, folder: Path, path: Path, environment: dict[str, str], *, skip: str = "") -> list[str]:
    """Run all blocks of a page in order, each as it is written; return what each of them said.

    Python is a file of its own, sh goes to a shell that stops at the first error, and a block of toml is saved under
    the name that the text before it gives.

    path : the folder with `python` and `rbm`
    skip : blocks that begin with it are not run
    """
    said = []
    for language, code in blocks(page, "python", "sh", "toml"):
        if skip and code.startswith(skip):
            continue
        if language == "toml":
            (name,) = re.findall(r"`([\w.-]+\.toml)`[^`]*\n\n```toml\n" + re.escape(code), (ROOT / page).read_text())
            (folder / name).write_text(code)
            continue
        (folder / "block.py").write_text(code)
        command = [str(path / "python"), "block.py"] if language == "python" else ["bash", "-e", "-c", code]
        env = {**environment, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    return said


def commands_of_this_process(folder: Path) -> Path:
    """Return a folder with `python` and `rbm` as they are here."""
    for name, arguments in (("python", ""), ("rbm", "-m rbm.command_line ")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return folder
