#!/usr/bin/env python3
"""What the compiler made of each CUDA kernel, checked against a table in the repository.

    cuda_static_table.py --logs FILE.ptxas... --ptx FILE.ptx... --table TABLE [--update]

Reads what `nvcc -Xptxas -v` said (registers, spills, shared memory, per architecture) and the PTX (what a kernel is made
of). Fails on spills and local memory, on kernels that the table lacks or that are gone, where fewer blocks fit on a
multiprocessor than the table says, and where 128-bit accesses, asynchronous copies, tensor-core or dp4a instructions
have become fewer. Says what to do; --update writes the table anew.
"""
import argparse
import re
import subprocess
import sys

# Per multiprocessor (CUDA programming guide, compute capabilities): warps, blocks, shared KiB. Registers: 65536, given to
# warps in steps of 256. Each block takes 1 KiB of shared memory for itself.
LIMITS = {80: (64, 32, 164), 86: (48, 16, 100), 89: (48, 24, 100), 90: (64, 32, 228), 100: (64, 32, 228), 120: (48, 24, 100)}
COUNTS = {  # name in the table: PTX instruction
    "load128": r"ld\.global(\.nc)?\.(v4\.(u|s|b|f)32|v2\.(u|s|b|f)64)",
    "store128": r"st\.global\.(v4\.(u|s|b|f)32|v2\.(u|s|b|f)64)",
    "copy128": r"cp\.async\.cg\.shared\.global",
    "ldmatrix": r"ldmatrix\.sync",
    "mma": r"mma\.sync",
    "dp4a": r"dp4a\.",
}


def short_names(names):
    """Kernel<arguments> of mangled names."""
    names = sorted(names)
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    result = {}
    for mangled, name in zip(names, text.splitlines()):
        name = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N__\w+::|fettle::kernels::(cuda::)?", "", name)
        name = re.sub(r"\((\w|::)+\)(?=-?\d)", "", name)  # casts of template arguments
        found = re.search(r"(\w+Kernel)(<[^(]*>)?\(", name)
        if not found:
            sys.exit(f"cannot read the kernel's name in {name}")
        result[mangled] = found.group(1) + (found.group(2) or "").replace(" ", "")
    return result


def read_logs(paths):
    """{(kernel, arch): (registers, shared bytes, bytes of local memory)}"""
    found = {}
    kernel = arch = local = None
    for path in paths:
        for line in open(path, errors="replace"):
            if m := re.search(r"Compiling entry function '([^']+)' for 'sm_(\d+)", line):
                kernel, arch = m.group(1), int(m.group(2))
            elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
                local = sum(map(int, m.groups()))
            elif kernel and (m := re.search(r"Used (\d+) registers", line)):
                shared = re.search(r"(\d+) bytes smem", line)
                found[kernel, arch] = (int(m.group(1)), int(shared.group(1)) if shared else 0, local)
                kernel = None
    return found


def read_ptx(paths):
    """{kernel: (threads, {count: number}, local accesses)}"""
    found = {}
    for path in paths:
        text = open(path).read()
        for entry in re.split(r"\.entry ", text)[1:]:
            kernel = re.match(r"\w+", entry).group(0)
            body = entry[entry.index("{"):]
            head = entry[:entry.index("{")]
            threads = re.search(r"\.maxntid (\d+)", head)
            if not threads:
                sys.exit(f"{kernel} does not say how many threads a block has (__launch_bounds__)")
            counts = {name: len(re.findall(pattern, body)) for name, pattern in COUNTS.items()}
            found[kernel] = (int(threads.group(1)), counts, len(re.findall(r"(ld|st)\.local", body)))
    return found


def blocks_per_multiprocessor(arch, threads, registers, shared):
    warps, blocks, kib = LIMITS[arch]
    block_warps = (threads + 31) // 32
    by_registers = 65536 // ((registers * 32 + 255) // 256 * 256) // block_warps
    by_shared = kib * 1024 // (shared + 1024)
    return min(blocks, warps // block_warps, by_registers, by_shared)


def measured_rows(logs, ptx):
    compiled, code = read_logs(logs), read_ptx(ptx)
    names = short_names({kernel for kernel, _ in compiled} | set(code))
    by_name = {names[kernel]: value for kernel, value in code.items()}
    rows, wrong = {}, []
    for (kernel, arch), (registers, shared, local) in compiled.items():
        name = names[kernel]
        if local:
            wrong.append(f"{name} for sm_{arch} uses {local} bytes of local memory")
        if name not in by_name:
            wrong.append(f"{name} is not in the PTX")
            continue
        threads, counts, local_accesses = by_name[name]
        if local_accesses:
            wrong.append(f"{name} has {local_accesses} accesses of local memory in its PTX")
        row = rows.setdefault(name, {"threads": threads, "shared": shared, **counts})
        row[f"regs{arch}"] = registers
        blocks = blocks_per_multiprocessor(arch, threads, registers, shared)
        row[f"occ{arch}"] = round(100 * blocks * ((threads + 31) // 32) / LIMITS[arch][0])
        if blocks == 0:
            wrong.append(f"{name} does not fit sm_{arch}: {registers} registers, {shared} bytes shared")
    return rows, wrong


def columns(archs):
    return ["threads", "shared", *COUNTS, *[f"regs{a}" for a in archs], *[f"occ{a}" for a in archs]]


def read_table(path):
    lines = [line.rstrip("\n").split("\t") for line in open(path) if not line.startswith("#")]
    return {line[0]: dict(zip(lines[0][1:], map(int, line[1:]))) for line in lines[1:]}


def compare(rows, table):
    wrong = [f"{name} is not in the table" for name in rows if name not in table]
    wrong += [f"{name} is in the table but was not compiled" for name in table if name not in rows]
    for name in rows.keys() & table.keys():
        for column, value in rows[name].items():
            wanted = table[name].get(column)
            if wanted is None or column.startswith("regs") or column in ("threads", "shared"):
                continue
            if value < wanted:
                wrong.append(f"{name}: {column} was {wanted}, is {value}")
    return sorted(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", nargs="+", required=True)
    parser.add_argument("--ptx", nargs="+", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    rows, wrong = measured_rows(options.logs, options.ptx)
    archs = sorted({int(c[4:]) for row in rows.values() for c in row if c.startswith("regs")})
    if not rows:
        sys.exit("no kernel was found")
    if options.update:
        with open(options.table, "w") as out:
            out.write("# Made by cmake/cuda_static_table.py --update. regsN, occN: registers of a thread and warps resident in per\n"
                      "# cent of the most, on sm_N; counts are instructions in the PTX.\n")
            out.write("\t".join(["kernel", *columns(archs)]) + "\n")
            for name in sorted(rows):
                out.write("\t".join([name, *[str(rows[name].get(c, 0)) for c in columns(archs)]]) + "\n")
    else:
        wrong += compare(rows, read_table(options.table))
    for line in wrong:
        print(line)
    print(f"{len(rows)} kernels for {', '.join(f'sm_{a}' for a in archs)}, {len(wrong)} findings")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
