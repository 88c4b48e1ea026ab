"""`make bench-serving`: files as Pixerve serves them beside nginx with `sendfile off`, the very same files, on loopback.

    serving.py PIXERVE REPORT

Both get one worker a core, keep connections alive and write a line a request into a file, as both do where nothing else is said;
the last rows are without that line on either side. A row takes turns: in each round one `wrk` asks the one server, then the
other, and the next round begins with the other one, so that whatever else the machine does meets both. What counts is the ratio
of the two in one round; the table has the median of the rounds and, in brackets, the least and the most.

BENCH_QUICK=1 takes fewer and shorter rounds. BENCH_ROWS=TEXT takes only rows whose name has that in it.
"""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

QUICK = os.environ.get("BENCH_QUICK") == "1"
ROWS = os.environ.get("BENCH_ROWS", "")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3" if QUICK else "5"))
SECONDS = 1 if QUICK else 2
CONNECTIONS = 8
START_SECONDS = 30
CORES = len(os.sched_getaffinity(0))
# Not in everybody's PATH.
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
HEAD = (
    "| | requests a second, to nginx's | CPU a request, to nginx's | requests a second | µs of CPU a request, user + kernel "
    "| 99th percentile, ms | lines logged |"
)
TICKS = os.sysconf("SC_CLK_TCK")

# Bytes of a file, and the range of it that is asked for.
FILES = {
    "1 kB": (1_000, (250, 749)),
    "100 kB": (100_000, (25_000, 74_999)),
    "2 MB": (2_000_000, (500_000, 1_499_999)),
}

# What wrk found, for a program to read: requests, microseconds, bytes, 99th percentile, errors.
RESULT = """
function done(summary, latency, requests)
    local errors = summary.errors
    local p99 = latency:percentile(99)
    io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration, summary.bytes, p99,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""

# Every server that was started.
RUNNING = []


def fail(what):
    raise SystemExit(f"serving: {what}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(port, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def picture(seed):
    """A PNG of 32 x 32 pixels."""
    side, grain = 32, random.Random(seed)
    rows = b"".join(b"\0" + grain.randbytes(3 * side) for _ in range(side))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Server:
    """A process that listens, its log, and the time that its processes have had of the cores."""

    def __init__(self, name, port, process, log):
        self.name, self.port, self.process, self.log = name, port, process, log
        RUNNING.append(self)

    def wait(self, path):
        for _ in range(START_SECONDS * 20):
            if self.process.poll() is not None:
                fail(f"{self.name} did not come up")
            try:
                if ask(self.port, "GET", path)[0] < 500:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        fail(f"{self.name} did not come up within {START_SECONDS} s")

    def processes(self):
        """It and its children."""
        children = subprocess.run(["ps", "--ppid", str(self.process.pid), "-o", "pid="], capture_output=True, text=True)
        return [self.process.pid, *map(int, children.stdout.split())]

    def cpu(self):
        """Seconds in user and in kernel mode."""
        user = kernel = 0
        for pid in self.processes():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except FileNotFoundError:
                continue
            user, kernel = user + int(fields[11]), kernel + int(fields[12])
        return user / TICKS, kernel / TICKS

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def pixerve_environment(work, port, log_filter):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(work),
        "TMPDIR": str(work),
        "PIXERVE_ADDR": f"127.0.0.1:{port}",
        "PIXERVE_DATA_DIR": str(work / "data"),
        "PIXERVE_SERVE_DIR": str(work / "serve"),
        "PIXERVE_PRIVATE_DIR": str(work / "private"),
        "PIXERVE_JWT_FILE": str(work / "jwt.json"),
        "PIXERVE_LOG": log_filter,
        "PIXERVE_STORAGE_FREE_DISK_MIN": "0",
    }


def start_pixerve(program, work, log_filter):
    port, log = free_port(), work / f"pixerve-{log_filter}.log"
    # Its log is its standard error: into a file, as a service manager would have it.
    with open(log, "ab") as lines:
        process = subprocess.Popen([program, "serve"], env=pixerve_environment(work, port, log_filter), cwd=work, stderr=lines)
    server = Server("Pixerve", port, process, log)
    server.wait("/health")
    return server


def start_nginx(work, logs):
    port, log = free_port(), work / f"nginx-{'logged' if logs else 'silent'}.log"
    root = work / f"nginx-{'logged' if logs else 'silent'}"
    root.mkdir()
    temporary = "".join(f"    {kind}_temp_path {root}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    # As whoever runs this: the directories are nobody else's to read.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(
        f"""{user}daemon off;
worker_processes {CORES};
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 512; }}
http {{
{temporary}    sendfile off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    access_log {log if logs else "off"};
    default_type application/octet-stream;
    types {{ image/jpeg jpg; }}
    server {{
        listen 127.0.0.1:{port};
        root {work}/public;
    }}
}}
"""
    )
    process = subprocess.Popen(
        [NGINX, "-e", str(root / "error.log"), "-p", str(root), "-c", str(root / "nginx.conf")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    log.touch()
    server = Server("nginx", port, process, log)
    server.wait("/")
    return server


class Site:
    """What Pixerve stored, each file replaced by one of exactly so many bytes: what is served is what is there."""

    def __init__(self, program, work, server):
        self.program, self.work, self.server = program, work, server
        self.files, self.private, self.images, self.tokens = {}, {}, {}, {}
        for seed, (name, (size, _)) in enumerate(FILES.items()):
            content = random.Random(size).randbytes(size)
            for private in (False, True):
                status = self.stored(picture(seed * 2 + private), private)
                location = status["files"][0]["stored"][0]["location"]
                area, _, path = location.lstrip("/").partition("/")
                place = work / {"files": "serve", "private": "private"}[area] / path
                beside = place.with_name("replaced.tmp")
                beside.write_bytes(content)
                os.rename(beside, place)
                if private:
                    self.private[name] = location
                    self.tokens[name] = self.token("--read", location)
                else:
                    self.files[name], self.images[name] = location, f"/image/{status['hash']}"

    def token(self, *arguments):
        command = [self.program, "token", "--sub", "bench", "--ttl", "6h", *arguments]
        environment = pixerve_environment(self.work, self.server.port, "warn")
        return subprocess.run(command, env=environment, cwd=self.work, check=True, capture_output=True, text=True).stdout.strip()

    def stored(self, png, private):
        job = {"directHost": True, "formats": {"jpg": {"sizes": [[16]]}}} | ({"private": True} if private else {})
        (self.work / "job.json").write_text(json.dumps(job))
        bound = "pixerve-serving"
        head = f'--{bound}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        body = head.encode() + png + f"\r\n--{bound}--\r\n".encode()
        headers = {
            "Authorization": f"Bearer {self.token('--job', 'job.json')}",
            "Content-Type": f"multipart/form-data; boundary={bound}",
        }
        status, _, answer = ask(self.server.port, "POST", "/upload", headers, body)
        if status != 200:
            fail(f"an upload was refused: {answer.decode()}")
        address = json.loads(answer)["status_url"]
        while True:
            job = json.loads(ask(self.server.port, "GET", f"{address}&wait=10")[2])
            if job["state"] == "completed":
                return job
            if job["state"] in ("failed", "cancelled"):
                fail(f"a job has {job['state']}: {job['error']}")


def wrk(server, path, headers, size, script):
    """Requests a second, the 99th percentile in milliseconds, and microseconds of the server's CPU a request, for answers of `size` bytes."""
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", str(SECONDS), "--script", str(script)]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    before = server.cpu()
    address = f"http://127.0.0.1:{server.port}{path}"
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=60)
    after = server.cpu()
    results = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not results:
        fail(f"wrk said: {done.stdout}{done.stderr}")
    requests, micros, received, p99, errors = map(int, results[0])
    if errors or not requests:
        fail(f"{server.name} answered {errors} of {requests} requests for {path} with an error")
    if received < requests * size:
        fail(f"{server.name} sent less than {size} bytes of {path}")
    user, kernel = ((late - early) * 1e6 / requests for early, late in zip(before, after))
    return {
        "rate": requests / micros * 1e6, "requests": requests, "p99": p99 / 1000, "user": user, "kernel": kernel,
    }


def lines_in(log):
    return log.read_bytes().count(b"\n")


def same_answer(ours, ours_headers, theirs, theirs_headers, expected, pixerve, nginx):
    """Both send the same bytes with the status that is expected: how many they are."""
    mine, other = ask(pixerve.port, "GET", ours, ours_headers), ask(nginx.port, "GET", theirs, theirs_headers)
    if not mine[0] == other[0] == expected or mine[2] != other[2]:
        fail(f"{ours} is answered {mine[0]} with {len(mine[2])} bytes, by nginx {other[0]} with {len(other[2])}")
    return len(mine[2])


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def measure(row, pixerve, nginx, script):
    name, ours, ours_headers, theirs, theirs_headers, expected = row
    size = same_answer(ours, ours_headers, theirs, theirs_headers, expected, pixerve, nginx)
    sides = [(pixerve, ours, ours_headers), (nginx, theirs, theirs_headers)]
    for server in (pixerve, nginx):
        os.truncate(server.log, 0)
    asked, found = {"Pixerve": 0, "nginx": 0}, {"Pixerve": [], "nginx": []}
    for turn in range(ROUNDS):
        for server, path, headers in sides if turn % 2 == 0 else reversed(sides):
            result = wrk(server, path, headers, size, script)
            found[server.name].append(result)
            asked[server.name] += result["requests"]
    time.sleep(0.3)
    told = {server.name: lines_in(server.log) / asked[server.name] for server in (pixerve, nginx)}
    mine, other = found["Pixerve"], found["nginx"]
    pairs = list(zip(mine, other))
    middle = lambda results, what: statistics.median(result[what] for result in results)
    cells = [
        name,
        spread([a["rate"] / b["rate"] for a, b in pairs]),
        spread([(a["user"] + a["kernel"]) / max(b["user"] + b["kernel"], 0.001) for a, b in pairs]),
        f"{middle(mine, 'rate'):,.0f} / {middle(other, 'rate'):,.0f}",
        f"{middle(mine, 'user'):.0f} + {middle(mine, 'kernel'):.0f} / {middle(other, 'user'):.0f} + {middle(other, 'kernel'):.0f}",
        f"{middle(mine, 'p99'):.2f} / {middle(other, 'p99'):.2f}",
        f"{told['Pixerve']:.0%} / {told['nginx']:.0%}",
    ]
    line = f"| {' | '.join(cells)} |"
    print(line, flush=True)
    return line


def two_rows(name, key, ours, theirs, headers):
    """The whole file and a part of it: what each server is asked, and with which status it answers."""
    first, last = FILES[key][1]
    part = {"Range": f"bytes={first}-{last}"}
    yield f"{name} {key}", ours, headers, theirs, {}, 200
    yield f"{name} {key}, a range", ours, headers | part, theirs, part, 206


def logged_rows(site):
    for key in FILES:
        yield from two_rows("`/files`", key, site.files[key], site.files[key], {})
    for key in FILES:
        token = {"Authorization": f"Bearer {site.tokens[key]}"}
        yield from two_rows("`/private`", key, site.private[key], site.files[key], token)
    for key in FILES:
        yield from two_rows("`/image`", key, site.images[key], site.files[key], {})


def silent_rows(site):
    for key in FILES:
        yield from two_rows("no log, `/files`", key, site.files[key], site.files[key], {})


def main():
    program, report = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    started, work = time.monotonic(), Path(tempfile.mkdtemp(prefix="pixerve-serving-"))
    # Interrupted or not, nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        script = work / "result.lua"
        script.write_text(RESULT)
        pixerve = start_pixerve(program, work, "info")
        site = Site(program, work, pixerve)
        (work / "public").mkdir()
        (work / "public" / "files").symlink_to(work / "serve")
        nginx = start_nginx(work, True)
        lines = [HEAD, "|---|---|---|---|---|---|---|"]
        print("\n".join(lines), flush=True)
        lines += [measure(row, pixerve, nginx, script) for row in logged_rows(site) if ROWS in row[0]]
        # One after the other: they have the same data directory.
        for server in RUNNING:
            server.stop()
        pixerve, nginx = start_pixerve(program, work, "warn"), start_nginx(work, False)
        lines += [measure(row, pixerve, nginx, script) for row in silent_rows(site) if ROWS in row[0]]
        load = Path("/proc/loadavg").read_text().split()[1]
        version = subprocess.run([NGINX, "-v"], capture_output=True, text=True).stderr.strip().rsplit("/", 1)[-1]
        lines.append(
            f"\nPixerve / nginx {version}, medians of {ROUNDS} rounds of {SECONDS} s each; in brackets the least and the most of the rounds' "
            f"ratios. `wrk` has one thread and {CONNECTIONS} connections, on the same {CORES} cores as the servers, which have {CORES} workers each; "
            f"the run took {time.monotonic() - started:.0f} s, load {load}."
        )
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("\n".join(lines) + "\n")
        print(lines[-1])
    finally:
        for server in RUNNING:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
