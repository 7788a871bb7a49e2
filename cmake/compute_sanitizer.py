#!/usr/bin/env python3
"""Runs the GPU tests under one tool of NVIDIA's compute-sanitizer; says so and ends with 77 where that is not possible.

    compute_sanitizer.py --tool memcheck|racecheck|initcheck|synccheck --program fettle_gpu_tests

memcheck: accesses out of bounds and misaligned ones; racecheck: hazards in shared memory;
initcheck: reads of device memory that nobody wrote; synccheck: barriers that not all threads reach.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

SKIPPED = 77  # what CTest is told to take for a test that could not run
FINDINGS = 86  # of the tool; the tests' own failures end with 1
# Whole models say nothing about a kernel's shared memory that its own tests do not, and take the tool hours.
KERNELS = "Cuda*"
FILTERS = {"memcheck": "*", "initcheck": "*", "racecheck": KERNELS, "synccheck": KERNELS}


def find_tool(environment=os.environ):
    places = [os.path.join(environment[name], "bin") for name in ("CUDA_HOME", "CUDA_PATH") if environment.get(name)]
    places.append("/usr/local/cuda/bin")
    return shutil.which("compute-sanitizer", path=os.pathsep.join([environment.get("PATH", ""), *places]))


def missing_device(program):
    """Why the program has no device to run on; None where it has one."""
    done = subprocess.run([program, "--gtest_filter=CudaElementwise.Norms"], capture_output=True, text=True)
    found = re.search(r"^\[  SKIPPED \] (.+)$", done.stdout, re.MULTILINE)
    return found.group(1) if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, choices=sorted(FILTERS))
    parser.add_argument("--program", required=True)
    arguments = parser.parse_args()
    tool = find_tool()
    if not tool:
        print("skipped: compute-sanitizer is not installed (it comes with the CUDA toolkit)")
        return SKIPPED
    reason = missing_device(arguments.program)
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    command = [tool, "--tool", arguments.tool, "--error-exitcode", str(FINDINGS), arguments.program, "--gtest_brief=1",
               f"--gtest_filter={FILTERS[arguments.tool]}"]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
