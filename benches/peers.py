#!/usr/bin/env python3
"""Runs the same backup work through several tools, one after another, and prints a table.

    peers.py --tools vault,restic,rustic,borg --work dumps,tree --data DIR [--json OUT.json] [--scratch DIR]

DIR holds what make_data.py made: DIR/dumps/h00.sql.. (hourly pg_dump outputs) and DIR/tree/ (a source tree).
Every figure is of a whole process: wall seconds, CPU seconds (user + system, children included) and the peak
memory of the largest process. A tool that is not installed is skipped with a line saying so. Absolute seconds
on a shared machine mean little: compare tools within one run.

Tools are found on PATH or through the environment: VAULT_BIN, RESTIC_BIN, RUSTIC_BIN, BORG_BIN, BUPSTASH_BIN.
"""

import argparse, json, os, random, shutil, subprocess, sys, tempfile, time
from pathlib import Path

PASSWORD = "correct horse battery staple"


def measure(argv, env, cwd=None, stdout=subprocess.DEVNULL, ok=(0,)):
    """Runs argv to its end. Returns wall and CPU seconds and peak resident MiB."""
    start = time.monotonic()
    process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE)
    stderr = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in ok:
        raise RuntimeError(f"{argv[:4]} exited {process.returncode}: {stderr.decode(errors='replace')[-800:]}")
    return {
        "wall_s": round(wall, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "rss_mib": round(usage.ru_maxrss / 1024, 1),
    }


def tree_size(path):
    return sum(f.stat().st_size for f in Path(path).rglob("*") if f.is_file() and not f.is_symlink())


class Tool:
    name = ""
    program = ""

    def __init__(self, scratch):
        self.binary = os.environ.get(f"{self.program.upper()}_BIN") or shutil.which(self.program)
        self.home = Path(scratch) / self.name
        self.repo = self.home / "repo"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("RESTIC_", "BORG_", "RUSTIC_", "VAULT_"))}
        self.env.update(
            HOME=str(self.home / "home"),
            XDG_CACHE_HOME=str(self.home / "cache"),
            XDG_CONFIG_HOME=str(self.home / "config"),
            XDG_DATA_HOME=str(self.home / "data"),
            XDG_STATE_HOME=str(self.home / "state"),
        )

    def reset(self):
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "home").mkdir(parents=True)

    def run(self, *argv, **kw):
        return measure([self.binary, *map(str, argv)], self.env, **kw)

    def size(self):
        return tree_size(self.repo)


class Restic(Tool):
    name = program = "restic"

    def init(self):
        self.env.update(RESTIC_PASSWORD=PASSWORD, RESTIC_REPOSITORY=str(self.repo))
        return self.run("init")

    def backup(self, source):
        return self.run("backup", "--quiet", ".", cwd=source)

    def restore(self, target):
        return self.run("restore", "latest", "--quiet", "--target", target)

    def check(self):
        return self.run("check", "--read-data")

    def prune(self, keep):
        return self.run("forget", "--keep-last", keep, "--prune", "--group-by", "host")

    def list(self):
        return self.run("snapshots")


class Rustic(Tool):
    name = program = "rustic"

    def init(self):
        self.env.update(RUSTIC_PASSWORD=PASSWORD, RUSTIC_REPOSITORY=str(self.repo), RUSTIC_NO_PROGRESS="true")
        return self.run("init")

    def backup(self, source):
        return self.run("backup", "--log-level", "warn", ".", cwd=source)

    def restore(self, target):
        return self.run("restore", "latest", target)

    def check(self):
        return self.run("check", "--read-data")

    def prune(self, keep):
        return self.run("forget", "--keep-last", keep, "--prune", "--instant-delete", "--group-by", "host")

    def list(self):
        return self.run("snapshots")


class Borg(Tool):
    name = program = "borg"
    chunker = None

    def init(self):
        self.env.update(
            BORG_PASSPHRASE=PASSWORD,
            BORG_REPO=str(self.repo),
            BORG_BASE_DIR=str(self.home / "borg"),
            BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes",
        )
        self.count = 0
        return self.run("init", "--encryption", "repokey-blake2")

    def backup(self, source):
        self.count += 1
        extra = ["--chunker-params", self.chunker] if self.chunker else []
        return self.run("create", "--compression", "zstd,3", *extra, f"::a{self.count:04}", ".", cwd=source, ok=(0, 1))

    def restore(self, target):
        Path(target).mkdir(parents=True, exist_ok=True)
        return self.run("extract", f"::a{self.count:04}", cwd=target)

    def check(self):
        return self.run("check", "--verify-data")

    def prune(self, keep):
        first = self.run("prune", "--keep-last", keep)
        second = self.run("compact", "--threshold", "0")
        return {k: round(max(first[k], second[k]) if k == "rss_mib" else first[k] + second[k], 3) for k in first}

    def list(self):
        return self.run("list")


class BorgSmall(Borg):
    """borg with the 64 KiB average chunks that its FAQ suggests for databases."""

    name = "borg-64k"
    chunker = "buzhash,14,18,16,4095"


class Bupstash(Tool):
    name = program = "bupstash"

    def init(self):
        key = self.home / "key"
        self.env.update(BUPSTASH_KEY=str(key), BUPSTASH_REPOSITORY=str(self.repo))
        self.run("new-key", "-o", key)
        return self.run("init")

    def backup(self, source):
        return self.run("put", "--compression", "zstd:3", "--send-log", self.home / "log", "name=a", ".", cwd=source)

    def restore(self, target):
        Path(target).mkdir(parents=True, exist_ok=True)
        last = (
            subprocess.run([self.binary, "list", "--format", "jsonl1"], env=self.env, capture_output=True, text=True)
            .stdout.strip()
            .splitlines()[-1]
        )
        return self.run("restore", "--into", target, f"id={json.loads(last)['id']}")

    def check(self):
        raise RuntimeError("bupstash has no check of all data")

    def prune(self, keep):
        raise RuntimeError("bupstash has no retention rules")

    def list(self):
        return self.run("list")


class Vault(Tool):
    name = program = "vault"

    def init(self):
        (self.home / "password").write_text(PASSWORD)
        self.env.update(VAULT_REPOSITORY=str(self.repo), VAULT_PASSWORD_FILE=str(self.home / "password"))
        return self.run("init")

    def backup(self, source):
        return self.run("snapshot", "--quiet", ".", cwd=source)

    def restore(self, target):
        return self.run("restore", "latest", "--target", target)

    def check(self):
        return self.run("check", "--read-data")

    def prune(self, keep):
        return self.run("forget", "--keep-last", keep, "--prune", "--grace", "0s")

    def list(self):
        return self.run("snapshots")


class VaultKey(Vault):
    """With a key file, as cron has it, where the others have a password or, like bupstash, a key."""

    name = "vault-key"

    def init(self):
        done = super().init()
        key = self.home / "key"
        self.run("key", "add", "--role", "owner", "--export-key-file", key)
        del self.env["VAULT_PASSWORD_FILE"]
        self.env["VAULT_KEY_FILE"] = str(key)
        return done


TOOLS = {t.name: t for t in (Vault, VaultKey, Restic, Rustic, Borg, BorgSmall, Bupstash)}


def same(left, right):
    """True where both trees hold the same files, links and bytes."""
    return (
        subprocess.run(
            ["diff", "-r", "--no-dereference", "-q", str(left), str(right)], stdout=subprocess.DEVNULL
        ).returncode
        == 0
    )


def find_restored(target, marker):
    """The folder under target that holds marker: tools differ in how much of the path they restore."""
    target = Path(target)
    if (target / marker).exists():
        return target
    return next(p.parent for p in target.rglob(marker))


def attempt(steps, label, work):
    try:
        steps[label] = work()
    except Exception as error:  # a tool that lacks a feature keeps its row, with the reason
        steps[label] = {"error": str(error)[:200]}


def run_dumps(tool, data, scratch):
    """Backs up the hourly dumps of one database in turn, under one path."""
    source = Path(scratch) / "source-dumps"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    dumps = sorted((data / "dumps").glob("h*.sql"))
    steps = {"init": tool.init()}
    hourly = []
    for number, dump in enumerate(dumps):
        (source / "dump.sql").unlink(missing_ok=True)
        (
            os.link(dump, source / "dump.sql")
            if dump.stat().st_dev == source.stat().st_dev
            else shutil.copy2(dump, source / "dump.sql")
        )
        figure = tool.backup(source)
        if number == 0:
            steps["first"] = figure | {"repo_mb": round(tool.size() / 1e6, 2)}
        else:
            hourly.append(figure)
    count = len(hourly)
    steps["hourly (mean)"] = {
        "wall_s": round(sum(f["wall_s"] for f in hourly) / count, 3),
        "cpu_s": round(sum(f["cpu_s"] for f in hourly) / count, 3),
        "rss_mib": max(f["rss_mib"] for f in hourly),
        "repo_mb_each": round((tool.size() / 1e6 - steps["first"]["repo_mb"]) / count, 3),
    }
    steps["all dumps"] = {"repo_mb": round(tool.size() / 1e6, 2)}
    after(tool, steps, source, "dump.sql", scratch, keep=4)
    return steps


def run_tree(tool, data, scratch):
    """A source tree of many small files: first, unchanged, and with one file in a hundred edited."""
    source = Path(scratch) / "source-tree"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(data / "tree", source, symlinks=True)
    steps = {"init": tool.init()}
    steps["first"] = tool.backup(source) | {"repo_mb": round(tool.size() / 1e6, 2)}
    steps["unchanged"] = tool.backup(source)
    files = sorted(p for p in source.rglob("*.c") if p.is_file() and not p.is_symlink())
    edited = random.Random(7).sample(files, len(files) // 40)
    for path in edited:
        with path.open("ab") as out:
            out.write(b"/* edited */\n")
    steps["1% edited"] = tool.backup(source) | {"repo_mb": round(tool.size() / 1e6, 2)}
    after(tool, steps, source, "MAINTAINERS", scratch, keep=1)
    return steps


def run_media(tool, data, scratch):
    """Files that do not compress (as photos and videos do not)."""
    source = data / "media"
    steps = {"init": tool.init()}
    steps["first"] = tool.backup(source) | {"repo_mb": round(tool.size() / 1e6, 2)}
    steps["unchanged"] = tool.backup(source)
    after(tool, steps, source, "m0000.bin", scratch, keep=1)
    return steps


def after(tool, steps, source, marker, scratch, keep):
    attempt(steps, "list", tool.list)
    target = Path(scratch) / "restored"
    shutil.rmtree(target, ignore_errors=True)

    def restore():
        figure = tool.restore(target)
        if not same(source, find_restored(target, marker)):
            raise RuntimeError("the restored tree differs from its source")
        return figure

    attempt(steps, "restore", restore)
    shutil.rmtree(target, ignore_errors=True)
    attempt(steps, "check all data", tool.check)
    attempt(steps, f"prune to {keep}", lambda: tool.prune(keep) | {"repo_mb": round(tool.size() / 1e6, 2)})


def medians(runs):
    """One set of steps from several runs: the median of each figure; an error in any run stays an error."""
    out = {}
    for label in runs[0]:
        figures = [run[label] for run in runs]
        broken = next((f for f in figures if "error" in f), None)
        out[label] = broken or {key: sorted(f[key] for f in figures)[len(figures) // 2] for key in figures[0]}
    return out


WORK = {"dumps": run_dumps, "tree": run_tree, "media": run_media}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default="vault,restic,rustic,borg,borg-64k")
    parser.add_argument("--work", default="dumps,tree,media")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--scratch", default=Path(tempfile.gettempdir()) / "peers-scratch", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeat", default=1, type=int, help="runs of each tool, in turn; medians are printed")
    options = parser.parse_args()
    results = {}
    for work in options.work.split(","):
        runs = {}
        for name in options.tools.split(",") * options.repeat:
            tool = TOOLS[name](options.scratch)
            if not tool.binary:
                print(f"# {name}: not installed, skipped", flush=True)
                continue
            runs.setdefault(name, [])
            tool.reset()
            try:
                runs[name].append(WORK[work](tool, options.data, options.scratch))
            except Exception as error:
                print(f"# {work}/{name}: {error}", flush=True)
            shutil.rmtree(tool.home, ignore_errors=True)
        for name, taken in runs.items():
            if not taken:
                continue
            steps = medians(taken)
            results.setdefault(work, {})[name] = steps
            for label, figures in steps.items():
                print(f"{work:6} {name:9} {label:15} " + "  ".join(f"{k}={v}" for k, v in figures.items()), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
