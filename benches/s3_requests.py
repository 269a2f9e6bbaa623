#!/usr/bin/env python3
"""Counts the requests that the same work costs on an S3 server, for several tools.

    s3_requests.py --data DIR [--tools vault,restic,rustic] [--files 100000] [--json OUT.json]

DIR holds what make_data.py made. The server is moto, in this process and in memory: it counts what arrives, by method,
and the bytes of both directions. Each tool has a bucket and a cache of its own, which it keeps from step to step, as on
a machine that backs up every hour. Needs `moto[s3]` and `flask` from PyPI; tools are found as peers.py finds them.
"""
import argparse, json, os, random, shutil, socket, subprocess, tempfile, threading, urllib.request
from collections import Counter
from pathlib import Path

import peers

PASSWORD = peers.PASSWORD


class Counted:
    """A WSGI application that notes each request before it hands it on."""

    def __init__(self, app):
        self.app, self.lock, self.calls, self.bytes = app, threading.Lock(), Counter(), Counter()

    def __call__(self, environ, start_response):
        method = environ["REQUEST_METHOD"]
        query = environ.get("QUERY_STRING", "")
        kind = "LIST" if method == "GET" and ("list-type=" in query or "prefix=" in query) else method
        with self.lock:
            self.calls[kind] += 1
            self.bytes["up"] += int(environ.get("CONTENT_LENGTH") or 0)

        def started(status, headers, *rest):
            length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            if method != "HEAD":
                with self.lock:
                    self.bytes["down"] += length
            return start_response(status, headers, *rest)

        return self.app(environ, started)

    def take(self):
        with self.lock:
            calls, moved = dict(self.calls), dict(self.bytes)
            self.calls.clear()
            self.bytes.clear()
        moved = {f"{way}_mb": round(moved.get(way, 0) / 1e6, 2) for way in ("up", "down")}
        return {"requests": sum(calls.values()), **calls, **moved}


def serve():
    """Starts the server; gives its address and what counts."""
    import logging

    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    counted = Counted(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", port, counted, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{port}", counted


class OnS3:
    """What differs from a folder: where the repository is, and how one file and one snapshot are named."""

    def at(self, endpoint, bucket):
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"))
        self.endpoint, self.bucket = endpoint, bucket
        self.env.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test-secret", AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1")
        return self


class Vault(OnS3, peers.Vault):
    def init(self):
        (self.home / "password").write_text(PASSWORD)
        location = f"s3://{self.bucket}/repository?region=us-east-1&endpoint={self.endpoint}"
        self.env.update(VAULT_REPOSITORY=location, VAULT_PASSWORD_FILE=str(self.home / "password"))
        return self.run("init")

    def restore_file(self, source, path, target):
        return self.run("restore", f"{source.name}:{path}", "--target", target)

    def backup(self, source):
        return self.run("snapshot", "--quiet", "--name", source.name, ".", cwd=source)

    def restore_all(self, source, target):
        return self.run("restore", source.name, "--target", target)

    def check_structure(self):
        return self.run("check")

    def prune(self, keep):
        return self.run("forget", "--keep-last", keep, "--prune", "--grace", "0s")


class Restic(OnS3, peers.Restic):
    def init(self):
        self.env.update(RESTIC_PASSWORD=PASSWORD, RESTIC_REPOSITORY=f"s3:{self.endpoint}/{self.bucket}/repository")
        return self.run("init")

    def backup(self, source):
        return self.run("backup", "--quiet", "--tag", source.name, ".", cwd=source)

    def restore_file(self, source, path, target):
        return self.run("restore", "latest", "--tag", source.name, "--quiet", "--include", f"/{path}", "--target", target)

    def restore_all(self, source, target):
        return self.run("restore", "latest", "--tag", source.name, "--quiet", "--target", target)

    def check_structure(self):
        return self.run("check")

    def prune(self, keep):
        return self.run("forget", "--keep-last", keep, "--prune", "--group-by", "host,tags")


class Rustic(OnS3, peers.Rustic):
    def init(self):
        profile = f"""[repository]
repository = "opendal:s3"
password = "{PASSWORD}"
no-progress = true
[repository.options]
bucket = "{self.bucket}"
root = "/repository"
endpoint = "{self.endpoint}"
region = "us-east-1"
access_key_id = "test"
secret_access_key = "test-secret"
"""
        (self.home / "rustic.toml").write_text(profile)
        self.profile = ["-P", str(self.home / "rustic")]
        return self.call("init")

    def call(self, *argv, **kw):
        return self.run(*self.profile, *argv, **kw)

    def backup(self, source):
        return self.call("backup", "--log-level", "warn", "--tag", source.name, ".", cwd=source)

    def restore_file(self, source, path, target):
        return self.call("restore", "--filter-tags", source.name, f"latest:{path}", target)

    def restore_all(self, source, target):
        return self.call("restore", "--filter-tags", source.name, "latest", target)

    def check_structure(self):
        return self.call("check")

    def prune(self, keep):
        return self.call("forget", "--keep-last", keep, "--prune", "--instant-delete", "--group-by", "host,tags")


TOOLS = {tool.name: tool for tool in (Vault, Restic, Rustic)}


def small_files(folder, count):
    """Many small files, a hundred in each folder."""
    words = random.Random(7)
    for number in range(count):
        if number % 100 == 0:
            below = folder / f"{number // 10000:02}" / f"{number // 100 % 100:02}"
            below.mkdir(parents=True)
        (below / f"{number % 100:02}.txt").write_text(f"{number} {words.random()} " * words.randint(3, 40))


def steps(tool, data, scratch, count):
    """Each step with what it asked the server for."""
    files, dump, large = (scratch / name for name in ("files", "dump", "large"))
    dump.mkdir(exist_ok=True)
    target = scratch / "restored"

    def hour(number):
        shutil.copy2(data / "dumps" / f"h{number:02}.sql", dump / "dump.sql")
        return tool.backup(dump)

    def restored(work):
        shutil.rmtree(target, ignore_errors=True)
        return work()

    yield "init", tool.init
    yield f"{count} files: first", lambda: tool.backup(files)
    yield f"{count} files: unchanged", lambda: tool.backup(files)
    yield "a dump: first", lambda: hour(0)
    yield "a dump: next hour", lambda: hour(1)
    yield "1 GB: first", lambda: tool.backup(large)
    yield "restore of one file", lambda: restored(lambda: tool.restore_file(files, "00/00/07.txt", target))
    yield "restore of 1 GB", lambda: restored(lambda: tool.restore_all(large, target))
    yield "check", tool.check_structure
    yield "forget and prune to 1", lambda: tool.prune(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", default="vault,restic,rustic")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--scratch", default=Path(tempfile.gettempdir()) / "s3-requests-scratch", type=Path)
    parser.add_argument("--files", default=100_000, type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scratch = options.scratch
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    small_files(scratch / "files", options.files)
    (scratch / "large").mkdir()
    left = 1_000_000_000
    for path in sorted((options.data / "media").rglob("*")):
        if path.is_file() and left > 0:
            (scratch / "large" / path.name).write_bytes(path.read_bytes()[:left])
            left -= path.stat().st_size
    results = {}
    for name in options.tools.split(","):
        endpoint, counted = serve()
        tool = TOOLS[name](scratch)
        if not tool.binary:
            print(f"# {name}: not installed, skipped", flush=True)
            continue
        tool.reset()
        tool.at(endpoint, name)
        counted.take()
        for label, work in steps(tool, options.data, scratch, options.files):
            try:
                ran = work()
                figures = {"wall_s": ran["wall_s"], "rss_mib": ran["rss_mib"]} | counted.take()
            except Exception as error:  # the row stays, with the reason
                figures = {"error": str(error)[:300]}
                counted.take()
            results.setdefault(name, {})[label] = figures
            print(f"{name:7} {label:26} " + "  ".join(f"{key}={value}" for key, value in figures.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
