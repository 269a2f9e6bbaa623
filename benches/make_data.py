#!/usr/bin/env python3
"""Makes the data that peers.py works on: real outputs of real programs, the same for the same seed.

    make_data.py DIR [--hours 24] [--rows 100000] [--seed 7] [--only dumps,tree,media]

DIR/dumps/hNN.sql  plain pg_dump outputs of one PostgreSQL database, an hour of a small service's work apart
                   (about 0.5 % of the rows: logins, new messages and events, sessions that come and go).
                   At the default 100,000 users a dump is about 470 MB; 24 of them need 12 GB of disk.
DIR/tree/          the Linux 6.1 source tree from Debian's package linux-source-6.1 (79,000 files, 1.4 GB)
DIR/media/         1.5 GB of files that do not compress, log-normal sizes

Needs PostgreSQL's server programs and the packages wamerican and (for tree) linux-source-6.1, all from Debian.
"""

import argparse, datetime, glob, hashlib, json, os, random, shutil, subprocess, tempfile, uuid
from pathlib import Path

SCHEMA = """
create table words(i serial primary key, t text);
create table users(id bigserial primary key, uid uuid, email text, name text, password text, settings jsonb, bio text,
  created_at timestamptz, last_login timestamptz, login_count int default 0);
create table projects(id bigserial primary key, owner bigint, title text, body text, status text,
  budget numeric(12,2), updated_at timestamptz);
create table messages(id bigserial primary key, project_id bigint, user_id bigint, body text, created_at timestamptz);
create table events(id bigserial primary key, user_id bigint, kind text, payload jsonb, at timestamptz);
create table sessions(token text primary key, user_id bigint, ip inet, data jsonb, seen timestamptz);
"""

HOUR = """
select setseed({seed});
update users set last_login = timestamptz '2026-11-01' + interval '{hour} hours', login_count = login_count + 1
  where id in (select (random()*({rows}-1))::int + 1 from generate_series(1, {rows}/125));
update users set settings = jsonb_set(settings, '{{theme}}', '"dark"')
  where id in (select (random()*({rows}-1))::int + 1 from generate_series(1, {rows}/2000));
update projects set status = (array['open','closed','draft'])[1+(random()*2)::int],
  updated_at = timestamptz '2026-11-01' + interval '{hour} hours'
  where id in (select (random()*({rows}*0.6-1))::int + 1 from generate_series(1, {rows}/333));
insert into messages(project_id, user_id, body, created_at)
  select (random()*({rows}*0.6-1))::int + 1, (random()*({rows}-1))::int + 1,
    (select string_agg(t, ' ') from (select t from words where i between q and q + (20 + (g % 30))) s),
    timestamptz '2026-11-01' + interval '{hour} hours'
  from (select g, (random()*19000)::int q from generate_series(1, {rows}/66) g) x;
insert into events(user_id, kind, payload, at)
  select (random()*({rows}-1))::int + 1, 'view',
    jsonb_build_object('path', '/' || g, 'ms', (random()*5000)::int, 'rid', md5(random()::text)),
    timestamptz '2026-11-01' + interval '{hour} hours'
  from generate_series(1, {rows}/25) g;
delete from sessions where token in (select token from sessions tablesample bernoulli(2) repeatable ({hour}));
insert into sessions
  select md5(random()::text) || md5(random()::text), (random()*({rows}-1))::int + 1, '10.0.0.1',
    jsonb_build_object('csrf', md5(random()::text)), timestamptz '2026-11-01' + interval '{hour} hours'
  from generate_series(1, {rows}/62) g;
delete from messages where id in (select (random()*({rows}*7-1))::int from generate_series(1, {rows}/2000));
vacuum;
"""


class Postgres:
    """A throw-away PostgreSQL on a Unix socket, run as an ordinary user because it refuses root."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        self.bin = Path(found[-1]) if found else Path(shutil.which("initdb")).resolve().parent
        self.home = Path(tempfile.mkdtemp(prefix="make-data-pg-"))
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            shutil.chown(self.home, self.user)

    def _as_user(self, *argv):
        prefix = ["runuser", "-u", self.user, "--"] if self.user else []
        subprocess.run([*prefix, *map(str, argv)], check=True, stdout=subprocess.DEVNULL, cwd=self.home)

    def __enter__(self):
        self._as_user(self.bin / "initdb", "-D", self.home / "data", "-A", "trust", "-U", "owner")
        self._as_user(
            self.bin / "pg_ctl",
            "-D",
            self.home / "data",
            "-w",
            "-l",
            self.home / "log",
            "-o",
            f"-k {self.home} -c listen_addresses= -c fsync=off -c max_wal_size=4GB",
            "start",
        )
        self.connection = ["-h", str(self.home), "-U", "owner"]
        subprocess.run([self.bin / "createdb", *self.connection, "app"], check=True)
        return self

    def __exit__(self, *_):
        self._as_user(self.bin / "pg_ctl", "-D", self.home / "data", "-m", "fast", "stop")
        shutil.rmtree(self.home, ignore_errors=True)

    def sql(self, text):
        subprocess.run(
            [self.bin / "psql", "-q", "-v", "ON_ERROR_STOP=1", *self.connection, "app"],
            input=text,
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def copy(self, table, columns, rows):
        process = subprocess.Popen(
            [self.bin / "psql", "-q", *self.connection, "app", "-c", f"\\copy {table}({columns}) from stdin"],
            stdin=subprocess.PIPE,
            text=True,
        )
        for row in rows:
            process.stdin.write("\t".join(map(str, row)) + "\n")
        process.stdin.close()
        if process.wait() != 0:
            raise SystemExit(f"loading {table} failed")

    def dump(self, path):
        with open(path, "wb") as out:
            subprocess.run([self.bin / "pg_dump", *self.connection, "app"], check=True, stdout=out)


def fill(database, rows, seed):
    pick = random.Random(seed)
    words = [
        w
        for w in Path("/usr/share/dict/words").read_text().split()
        if w.isascii() and w.isalpha() and w.islower() and 2 <= len(w) <= 9
    ]
    pick.shuffle(words)
    words = words[:20000]
    weights, total = [], 0.0
    for rank in range(len(words)):
        total += 1 / (rank + 10)
        weights.append(total)

    def text(n):
        return " ".join(pick.choices(words, cum_weights=weights, k=n))

    def when(days):
        return (datetime.datetime(2026, 11, 1) - datetime.timedelta(seconds=pick.random() * 86400 * days)).isoformat(
            sep=" "
        )

    def document(value):
        return json.dumps(value).replace("\\", "\\\\")

    database.sql(SCHEMA)
    database.copy("words", "t", ((w,) for w in words))
    database.copy(
        "users",
        "uid,email,name,password,settings,bio,created_at,last_login,login_count",
        (
            (
                uuid.UUID(int=pick.getrandbits(128)),
                f"{text(1)}.{text(1)}{pick.randint(1, 9999)}@example.com",
                text(2).title(),
                hashlib.sha256(pick.randbytes(8)).hexdigest(),
                document(
                    {
                        "theme": pick.choice(["dark", "light"]),
                        "lang": pick.choice(["en", "de", "fr", "zh"]),
                        "notify": {"email": pick.random() < 0.5, "push": pick.random() < 0.3},
                        "tz": pick.randint(-11, 12),
                    }
                ),
                text(pick.randint(0, 40)),
                when(730),
                when(30),
                pick.randint(0, 500),
            )
            for _ in range(rows)
        ),
    )
    database.copy(
        "projects",
        "owner,title,body,status,budget,updated_at",
        (
            (
                pick.randint(1, rows),
                text(4),
                text(pick.randint(20, 120)),
                pick.choice(["open", "closed", "draft"]),
                pick.randint(0, 10**7) / 100,
                when(730),
            )
            for _ in range(rows * 6 // 10)
        ),
    )
    database.copy(
        "messages",
        "project_id,user_id,body,created_at",
        (
            (pick.randint(1, rows * 6 // 10), pick.randint(1, rows), text(pick.randint(3, 60)), when(730))
            for _ in range(rows * 7)
        ),
    )
    database.copy(
        "events",
        "user_id,kind,payload,at",
        (
            (
                pick.randint(1, rows),
                pick.choice(["click", "view", "login", "purchase", "error"]),
                document(
                    {
                        "path": "/" + text(2).replace(" ", "/"),
                        "ms": pick.randint(1, 5000),
                        "ref": pick.choice(["g", "f", "t", ""]),
                        "rid": "%016x" % pick.getrandbits(64),
                    }
                ),
                when(730),
            )
            for _ in range(rows * 12)
        ),
    )
    database.copy(
        "sessions",
        "token,user_id,ip,data,seen",
        (
            (
                "%064x" % pick.getrandbits(256),
                pick.randint(1, rows),
                "10.%d.%d.%d" % (pick.randint(0, 255), pick.randint(0, 255), pick.randint(0, 255)),
                document({"csrf": "%032x" % pick.getrandbits(128), "flash": []}),
                when(3),
            )
            for _ in range(rows * 8 // 10)
        ),
    )


def make_dumps(target, hours, rows, seed):
    target.mkdir(parents=True, exist_ok=True)
    with Postgres() as database:
        fill(database, rows, seed)
        for hour in range(hours):
            database.dump(target / f"h{hour:02}.sql")
            database.sql(HOUR.format(rows=rows, hour=hour, seed=((seed * 31 + hour) % 1000) / 1000))


def make_tree(target):
    archive = Path("/usr/src/linux-source-6.1.tar.xz")
    if not archive.exists():
        raise SystemExit(
            "install Debian's linux-source-6.1 first (apt-get install --no-install-recommends linux-source-6.1)"
        )
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xf", archive, "-C", target, "--strip-components=1"], check=True)


def make_media(target, seed, total=1_500_000_000):
    target.mkdir(parents=True, exist_ok=True)
    pick, written, number = random.Random(seed), 0, 0
    while written < total:
        size = int(min(max(pick.lognormvariate(13.5, 1.4), 2000), 60_000_000))
        (target / f"m{number:04}.bin").write_bytes(pick.randbytes(size))
        written, number = written + size, number + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="dumps,tree,media")
    options = parser.parse_args()
    only = options.only.split(",")
    if "dumps" in only:
        make_dumps(options.dir / "dumps", options.hours, options.rows, options.seed)
    if "tree" in only:
        make_tree(options.dir / "tree")
    if "media" in only:
        make_media(options.dir / "media", options.seed)


if __name__ == "__main__":
    main()
