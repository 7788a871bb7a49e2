#!/usr/bin/env python3
"""Which lines of kernels/cuda the tests on the emulator execute.

    cuda_coverage.py --objects FOLDER --source ROOT [--gcov gcov] [--least PERCENT] [--lines]

Reads the counters that a build with FETTLE_COVERAGE left beside its objects, after fettle_simt_tests has run. A line of
a template counts once, as executed if one of its instances executed it. Says the share by file, with --lines the numbers of
the lines that nothing executed; fails where the whole is below --least.
"""
import argparse
import collections
import json
import os
import subprocess
import sys


def counts_of(gcov, notes, source):
    """{file: {line: executions}} of one object."""
    output = subprocess.run([gcov, "--json-format", "--stdout", notes], capture_output=True, text=True, check=True,
                            cwd=os.path.dirname(notes)).stdout
    found = collections.defaultdict(lambda: collections.defaultdict(int))
    for document in filter(None, output.splitlines()):
        report = json.loads(document)
        for entry in report["files"]:
            name = os.path.relpath(os.path.join(report["current_working_directory"], entry["file"]), source)
            if not name.startswith("kernels/cuda/"):
                continue
            for line in entry["lines"]:
                number = line["line_number"]
                found[name][number] = max(found[name][number], line["count"])
    return found


def ranges(numbers):
    """3, 5-7, 9"""
    parts = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--gcov", default="gcov")
    parser.add_argument("--least", type=float, default=0)
    parser.add_argument("--lines", action="store_true")
    options = parser.parse_args()
    notes = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.abspath(options.objects)) for name in names
             if name.endswith(".cu.gcno") and os.path.exists(os.path.join(folder, name[:-4] + "gcda"))]
    if not notes:
        sys.exit(f"no counters below {options.objects}: build with FETTLE_COVERAGE=ON and run fettle_simt_tests first")
    merged = collections.defaultdict(lambda: collections.defaultdict(int))
    for each in sorted(notes):
        for name, lines in counts_of(options.gcov, each, os.path.realpath(options.source)).items():
            for number, count in lines.items():
                merged[name][number] = max(merged[name][number], count)
    total = executed = 0
    for name in sorted(merged):
        lines = merged[name]
        hit = sum(count > 0 for count in lines.values())
        total += len(lines)
        executed += hit
        missed = ranges(number for number, count in lines.items() if count == 0)
        print(f"{name:42} {hit:4} of {len(lines):4} lines, {100 * hit / len(lines):5.1f}%"
              + (f"   not: {missed}" if options.lines and missed else ""))
    share = 100 * executed / total
    print(f"{'kernels/cuda on the emulator':42} {executed:4} of {total:4} lines, {share:5.1f}%")
    if share < options.least:
        sys.exit(f"less than {options.least}%")


if __name__ == "__main__":
    main()
