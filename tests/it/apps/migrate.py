"""Moves a directory of pictures to Pixerve and prints where each one is: `python migrate.py DIRECTORY > places.csv`.

Beside the `shop.json` of the registration, with PIXERVE in the environment. Started again, it goes on where it was. Lines
between `Pixerve` and `the migration` are glue, which the test counts.
"""

import csv
import json
import os
import sys
import time
from pathlib import Path

# Pixerve
import jwt
import requests

PIXERVE = os.environ["PIXERVE"]
KEYS = json.loads(Path("shop.json").read_text())
FINAL = ("completed", "failed", "cancelled")


def headers(ref):
    job = {"ref": ref, "formats": {"webp": {"sizes": [[800], [200]]}}, "keepOriginal": True, "directHost": True,
           "subDir": "migrated", "priority": 1, "onDuplicate": "queue"}
    now = int(time.time())
    claims = {"sub": "migration", "iat": now, "exp": now + 3600, "job": job}
    token = jwt.encode(claims, KEYS["secret"], algorithm="HS256", headers={"kid": KEYS["access_key"]})
    return {"Authorization": f"Bearer {token}"}


def ask(method, path, **more):
    while True:
        try:
            answer = requests.request(method, PIXERVE + path, timeout=120, **more)
        except requests.ConnectionError:
            time.sleep(1)
            continue
        if answer.status_code not in (429, 503, 507):
            return answer
        time.sleep(int(answer.headers.get("Retry-After", 1)))


def upload(ref, picture):
    answer = ask("GET", "/status", params={"ref": ref}, headers=headers(ref))  # of an earlier run
    if answer.status_code == 404:
        answer = ask("POST", "/upload", headers=headers(ref), files={"file": (picture.name, picture.read_bytes())})
    said = answer.json()
    return said.get("job_id"), said.get("detail")


def ended(ids):
    jobs = {}
    while waiting := [job_id for job_id in ids if job_id not in jobs]:
        ask("GET", "/status", params={"job_id": waiting[0], "wait": 30})
        # With one id alone the answer is that job.
        said = ask("GET", "/status", params={"job_id": ",".join(waiting[:100])}).json()
        jobs |= {job["job_id"]: job for job in said.get("jobs", [said]) if job["state"] in FINAL}
    return jobs


def places(job):
    return " ".join(place["location"] for file in job["files"] for place in file["stored"])
# the migration


def main(root):
    table = csv.writer(sys.stdout)
    table.writerow(["ref", "state", "places"])
    accepted = {}
    for picture in sorted(path for path in root.rglob("*") if path.is_file()):
        ref = picture.relative_to(root).as_posix()
        job_id, problem = upload(ref, picture)
        if job_id is None:
            table.writerow([ref, "refused", problem])
            continue
        accepted[ref] = job_id
        print(f"{ref} is {job_id}", file=sys.stderr, flush=True)
    jobs = ended(accepted.values())
    for ref, job_id in accepted.items():
        job = jobs[job_id]
        table.writerow([ref, job["state"], job["error"] or places(job)])


main(Path(sys.argv[1]))
