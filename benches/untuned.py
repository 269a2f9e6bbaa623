#!/usr/bin/env python3
"""What each run adds to a repository, of data that nobody tuned a chunker for.

    untuned.py [--kinds sqlite,rdb,...] [--tools vault,restic,borg-64k] [--runs 4] [--tree DIR] [--json OUT.json]

Each kind is one file or folder that real programs write and change a little between runs; all tools store the same
states in turn, and what their repositories grow by is printed: all files of it, indexes and padding included. `long` is
168 hourly dumps of a small database, whose last day is compared with its first. Needs what make_data.py needs, SQLite
(in Python), redis-server and mkfs.ext4; `tree` and `image` take files of the source tree that make_data.py laid in --tree.
"""
import argparse, json, os, random, shutil, socket, sqlite3, subprocess, tempfile, time
from pathlib import Path

import make_data, peers

WORDS = "the of and a to in is you that it he was for on are as with his they at be this have from or one had by".split()


def sentence(pick, least, most):
    return " ".join(pick.choices(WORDS, k=pick.randint(least, most))) + f" {pick.getrandbits(40):x}"


def sqlite(folder, columns):
    """A table of 250,000 rows, 2,000 of which change each time: all of their text, or two numbers."""
    pick = random.Random(7)
    path = folder / "app.db"
    rows = 250_000
    with sqlite3.connect(path) as database:
        database.execute("create table notes(id integer primary key, owner int, seen int, title text, body text)")
        values = ((n, pick.randint(1, 9999), 0, sentence(pick, 3, 8), sentence(pick, 40, 100)) for n in range(rows))
        database.executemany("insert into notes values(?, ?, ?, ?, ?)", values)
        database.execute("create index owners on notes(owner)")
    while True:
        yield
        with sqlite3.connect(path) as database:
            for number in pick.sample(range(rows), 2000):
                if columns == "text":
                    body = sentence(pick, 40, 100)
                    database.execute("update notes set body = ?, seen = seen + 1 where id = ?", (body, number))
                else:
                    database.execute("update notes set seen = seen + 1, owner = ? where id = ?", (pick.randint(1, 9999), number))


def postgres(folder, rows, take):
    """A PostgreSQL database of make_data.py an hour further each time, as `take` writes it."""
    with make_data.Postgres() as database:
        make_data.fill(database, rows, 7)
        hour = 0
        while True:
            take(database, folder)
            yield
            hour += 1
            database.sql(make_data.HOUR.format(hour=hour, rows=rows, seed=((7 * 31 + hour) % 1000) / 1000))


def custom(level):
    def take(database, folder):
        compress = [] if level is None else [f"--compress={level}"]
        argv = [database.bin / "pg_dump", *database.connection, "--format=custom", *compress, "app"]
        subprocess.run([*argv, "--file", folder / "app.dump"], check=True)

    return take


def plain(database, folder):
    database.dump(folder / "app.sql")


def base_backup(database, folder):
    target = database.home / "base"
    shutil.rmtree(target, ignore_errors=True)
    argv = [database.bin / "pg_basebackup", *database.connection, "--format=tar", "--wal-method=none", "--checkpoint=fast"]
    subprocess.run([*argv, "--no-manifest", "--pgdata", target], check=True, stderr=subprocess.DEVNULL)
    shutil.move(target / "base.tar", folder / "base.tar")


def inserts(folder):
    """Lines of INSERT with many rows each, as mysqldump writes them; one row in 200 changes."""
    pick = random.Random(7)
    row = lambda n: f"({n},{pick.randint(1, 99999)},'{sentence(pick, 20, 60)}','2026-11-{pick.randint(1, 30):02} 10:00:00')"
    rows = [row(n) for n in range(400_000)]
    while True:
        with (folder / "app.sql").open("w") as out:
            line, length = [], 0
            for text in rows:
                line.append(text)
                length += len(text) + 1
                if length > 1_000_000:
                    out.write("INSERT INTO `notes` VALUES " + ",".join(line) + ";\n")
                    line, length = [], 0
            out.write("INSERT INTO `notes` VALUES " + ",".join(line) + ";\n")
        yield
        for number in pick.sample(range(len(rows)), len(rows) // 200):
            rows[number] = row(number)


def rdb(folder):
    """The file of a Redis with 200,000 keys, 2,000 of which are set anew each time."""
    pick = random.Random(7)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    argv = ["redis-server", "--port", port, "--dir", folder, "--save", "", "--dbfilename", "dump.rdb"]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    client = ["redis-cli", "-p", port]

    def put(numbers):
        lines = (f'SET session:{n} "{sentence(pick, 30, 60)}"\n' for n in numbers)
        subprocess.run([*client, "--pipe"], input="".join(lines), text=True, check=True, stdout=subprocess.DEVNULL)

    try:
        while subprocess.run([*client, "ping"], capture_output=True).returncode != 0:
            time.sleep(0.1)
        put(range(200_000))
        while True:
            subprocess.run([*client, "save"], check=True, stdout=subprocess.DEVNULL)
            yield
            put(pick.sample(range(200_000), 2000))
    finally:
        server.terminate()
        server.wait()


def source_text(folder, tree):
    """A source tree in which 60 files get a line."""
    pick = random.Random(7)
    for part in ("kernel", "mm"):
        shutil.copytree(tree / part, folder / part, symlinks=True)
    files = sorted(path for path in folder.rglob("*.c") if path.is_file() and not path.is_symlink())
    while True:
        yield
        for path in pick.sample(files, 60):
            lines = path.read_text(errors="surrogateescape").splitlines(keepends=True)
            lines.insert(pick.randint(0, len(lines)), f"/* {sentence(pick, 4, 10)} */\n")
            path.write_text("".join(lines), errors="surrogateescape")


def image(folder, tree):
    """The disk of a virtual machine, 1 GiB with a file system on it; 400 blocks of 4 KiB are written each time."""
    pick = random.Random(7)
    path = folder / "disk.img"
    with path.open("wb") as out:
        out.truncate(1 << 30)
    argv = ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,hash_seed=00000000-0000-0000-0000-000000000007"]
    subprocess.run([*argv, "-d", tree / "drivers" / "net", path], check=True)
    while True:
        yield
        with path.open("r+b") as disk:
            for block in pick.sample(range(1 << 16), 400):
                disk.seek(block * 4096)
                disk.write((sentence(pick, 700, 700) * 2).encode()[:4096])


KINDS = {
    "sqlite": lambda folder, tree: sqlite(folder, "text"),
    "sqlite-small": lambda folder, tree: sqlite(folder, "numbers"),
    "pg-custom-z0": lambda folder, tree: postgres(folder, 30_000, custom(0)),
    "pg-custom": lambda folder, tree: postgres(folder, 30_000, custom(None)),
    "pg-base": lambda folder, tree: postgres(folder, 30_000, base_backup),
    "inserts": lambda folder, tree: inserts(folder),
    "rdb": lambda folder, tree: rdb(folder),
    "tree": source_text,
    "image": image,
    "long": lambda folder, tree: postgres(folder, 5_000, plain),
}


def grow(kind, tools, options):
    """What each run of each tool adds, in MB."""
    source = options.scratch / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    if kind == "rdb":
        source.chmod(0o777)
    states = KINDS[kind](source, options.tree)
    sizes = {}
    for tool in tools:
        tool.reset()
        tool.init()
        sizes[tool.name] = [tool.size()]
    for _ in range(168 if kind == "long" else options.runs + 1):
        next(states)
        for tool in tools:
            tool.backup(source)
            sizes[tool.name].append(tool.size())
    states.close()
    length = sum(path.stat().st_size for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    added = {name: [(after - before) / 1e6 for before, after in zip(all, all[1:])] for name, all in sizes.items()}
    for tool in tools:
        shutil.rmtree(tool.home, ignore_errors=True)
    return length / 1e6, added


def mean(values):
    return round(sum(values) / len(values), 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--tools", default="vault,restic,borg-64k")
    parser.add_argument("--runs", default=4, type=int, help="runs after the first")
    parser.add_argument("--tree", type=Path, help="a Linux source tree")
    parser.add_argument("--scratch", default=Path(tempfile.gettempdir()) / "untuned-scratch", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tools = [peers.TOOLS[name](options.scratch) for name in options.tools.split(",")]
    tools = [tool for tool in tools if tool.binary]
    results = {}
    for kind in options.kinds.split(","):
        length, added = grow(kind, tools, options)
        for name, runs in added.items():
            figures = {"source_mb": round(length, 1), "first_mb": round(runs[0], 2), "each_mb": mean(runs[1:])}
            if kind == "long":
                figures |= {"hours_2_to_24_mb": mean(runs[1:24]), "hours_145_to_168_mb": mean(runs[144:])}
            results.setdefault(kind, {})[name] = figures
            print(f"{kind:13} {name:9} " + "  ".join(f"{key}={value}" for key, value in figures.items()), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
