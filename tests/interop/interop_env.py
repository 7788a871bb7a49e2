"""A Python environment of our own for the interop checks, made on the fly from PyPI.

FETTLE_INTEROP_PYTHON  a Python that already has the packages: used as it is
FETTLE_INTEROP_ENV     folder for the environment (default: build/interop-env in the source tree)

A check that can't get its packages says so in one line and ends with 77, which ctest counts as skipped.
"""
import os
import pathlib
import subprocess
import sys

SKIPPED = 77
ROOT = pathlib.Path(__file__).resolve().parents[2]


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(SKIPPED)


def _has(python, modules):
    code = "import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *modules], capture_output=True).returncode == 0


def ensure(packages):
    """Runs the calling script again in an environment with `packages` ({module: pip requirement}), if need be."""
    if _has(sys.executable, packages) and (sys.prefix != sys.base_prefix or "FETTLE_INTEROP_RUNNING" in os.environ):
        return
    if "FETTLE_INTEROP_RUNNING" in os.environ:
        skip(f"the environment lacks one of {', '.join(packages)}")
    python = os.environ.get("FETTLE_INTEROP_PYTHON")
    if not python:
        folder = pathlib.Path(os.environ.get("FETTLE_INTEROP_ENV") or ROOT / "build" / "interop-env")
        python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
        if not os.path.exists(python):
            made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True)
            if made.returncode:
                skip(f"no virtual environment could be made in {folder}: {(made.stderr or made.stdout).strip()[-200:]}")
        if not _has(python, packages):
            print(f"installing {', '.join(packages.values())}", file=sys.stderr, flush=True)
            got = subprocess.run([python, "-m", "pip", "install", "--quiet", "--retries", "1", *packages.values()],
                                 capture_output=True, text=True)
            if got.returncode:
                lines = [line for line in got.stderr.splitlines() if line.startswith("ERROR")]
                skip(f"PyPI gave no packages ({lines[-1] if lines else 'pip failed'})")
    elif not _has(python, packages):
        skip(f"{python} lacks one of {', '.join(packages)}")
    done = subprocess.run([python, *sys.argv], env=os.environ | {"FETTLE_INTEROP_RUNNING": "1"})
    sys.exit(done.returncode)
