#!/usr/bin/env python3
"""How the cost of vault's snapshots grows: with the number of files, and with the bytes of a dump.

    growth.py [--files 10000,100000,1000000] [--gigabytes 1,10] [--scratch DIR] [--json OUT.json]

Makes small files (200 to 1,600 bytes, a hundred in a folder) and rows of text as a database dumps them, which compress to
less than half, snapshots them with a key file, and prints for each size the first snapshot, an unchanged one, a check
of all data, and for dumps an hour in which a thousandth of the rows changed, and a restore. The last columns are
seconds per 100,000 files or per gigabyte: they stay the same where cost grows with size and no faster. The scratch
folder needs room for three times the largest.
"""
import argparse, json, random, shutil, sys, tempfile
from pathlib import Path

import peers
from s3_requests import small_files

WORDS = "late paid open shipped returned north south east west gift retail trade express standard signed".split()


def rows(path, size, changed=0):
    """A dump of about so many bytes; of its rows a part, like 0.001, differs from what it is without."""
    values, other = random.Random(7), random.Random(11)
    number = written = 0
    with path.open("w") as out:
        while written < size:
            lines = []
            for row in range(number, number + 1000):
                value = values.getrandbits(64)
                if changed and other.random() < changed:
                    value ^= 1
                word, second = WORDS[value % 15], WORDS[value // 15 % 15]
                lines.append(f"{row}\t{value:016x}\tuser{value % 100_003}@example.org\t{value % 10_000}.00\t{word} {second}\n")
            number += 1000
            block = "".join(lines)
            written += len(block)
            out.write(block)


def made(scratch):
    tool = peers.VaultKey(scratch)
    tool.reset()
    tool.init()
    return tool


def of_files(count, scratch):
    folder = scratch / "files"
    folder.mkdir()
    small_files(folder, count)
    tool = made(scratch)
    yield "first", tool.backup(folder)
    yield "unchanged", tool.backup(folder)
    yield "check all data", tool.check()


def of_bytes(gigabytes, scratch):
    folder, target = scratch / "dump", scratch / "restored"
    folder.mkdir()
    rows(folder / "dump.sql", gigabytes * 1e9)
    tool = made(scratch)
    yield "first", tool.backup(folder)
    rows(folder / "dump.sql", gigabytes * 1e9, 0.001)
    yield "next hour", tool.backup(folder)
    yield "check all data", tool.check()
    yield "restore", tool.restore(target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="10000,100000,1000000")
    parser.add_argument("--gigabytes", default="1,10")
    parser.add_argument("--scratch", default=Path(tempfile.gettempdir()) / "growth-scratch", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not peers.VaultKey(options.scratch).binary:
        sys.exit("growth.py: no vault on PATH; say VAULT_BIN=path of vault")
    all_steps = {}
    for what, sizes, work, unit in (
        ("files", options.files, of_files, 100_000),
        ("GB", options.gigabytes, of_bytes, 1),
    ):
        for size in (int(size) for size in sizes.split(",") if size):
            shutil.rmtree(options.scratch, ignore_errors=True)
            options.scratch.mkdir(parents=True)
            for step, figures in work(size, options.scratch):
                figures["wall_per_unit"] = round(figures["wall_s"] * unit / size, 3)
                figures["cpu_per_unit"] = round(figures["cpu_s"] * unit / size, 3)
                all_steps.setdefault(f"{size} {what}", {})[step] = figures
                text = "  ".join(f"{name}={value}" for name, value in figures.items())
                print(f"{size:>8} {what:5} {step:16} {text}", flush=True)
    shutil.rmtree(options.scratch, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(all_steps, indent=1))


if __name__ == "__main__":
    main()
