"""A server under load: the waiting line has an end, and what is light is answered while the heavy waits."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")

import requests
from asking import ask, refused

SYNTHESIS, MAP = "brain_mr_synthesis_ldm", "phantom_mr_anomaly_map_tiny"
QUEUE_MAX, CROWD = 6, 44
LIGHT_S = 1.0  # for an answer to a light request, whatever waits


def light_s() -> float:
    """LIGHT_S, stretched by how many programs share a core of this machine."""
    return LIGHT_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def timed(method: str, url: str) -> tuple[float, requests.Response]:
    began = time.monotonic()
    answer = requests.request(method, url, timeout=60)
    return time.monotonic() - began, answer


def wait_until(look, seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def states(server) -> list[str]:
    return [job["state"] for job in server.get("/zoo/jobs")]


def test_a_crowd_of_heavy_requests_is_bounded_and_keeps_no_light_one_waiting(busy):
    request = {"steps": 60, "num_samples": 2, "store": False}
    wait_until(lambda: not {"queued", "running"} & set(states(busy)))
    assert ask(busy, SYNTHESIS, {"steps": 1, "store": False}).status_code == 200  # warm
    pool = ThreadPoolExecutor(CROWD)
    crowd = [pool.submit(ask, busy, SYNTHESIS, request | {"seed": n, "job": f"crowd-{n}"}) for n in range(CROWD)]
    wait_until(lambda: states(busy).count("queued") == QUEUE_MAX and "running" in states(busy))
    taken = []
    for path in (
        "/zoo/jobs",
        "/info/",
        "/zoo/index",
        "/datastore/",
        "/datastore/?output=all",
        "/openapi.json",
        "/zoo/jobs",
    ):
        seconds, answer = timed("GET", busy.url + path)
        assert answer.status_code == 200
        taken.append(seconds)
    wait_until(lambda: sum(item.done() for item in crowd) >= CROWD - QUEUE_MAX - 1)
    turned_away = [item.result() for item in crowd if item.done() and item.result().status_code == 429]
    assert len(turned_away) >= CROWD - QUEUE_MAX - 1 - states(busy).count("done")
    for answer in turned_away:
        sentence = refused(answer, 429)
        assert f"{QUEUE_MAX} requests wait already, and queue_max is {QUEUE_MAX}" in sentence
        assert int(answer.headers["Retry-After"]) >= 1 and f"in {answer.headers['Retry-After']} s" in sentence
    for job in busy.get("/zoo/jobs"):
        if job["id"].startswith("crowd-") and job["state"] in ("queued", "running"):
            seconds, answer = timed("DELETE", f"{busy.url}/zoo/jobs/{job['id']}")
            assert answer.status_code == 200
            taken.append(seconds)
    assert max(taken) < light_s(), taken
    began = time.monotonic()
    answers = [item.result() for item in crowd]
    assert time.monotonic() - began < 2 * light_s(), "a cancelled request is answered at once"
    assert {answer.status_code for answer in answers} <= {200, 409, 429}
    assert ask(busy, SYNTHESIS, {"steps": 1, "store": False}).status_code == 200, "the line is open again"


def test_a_full_line_takes_batches_and_files_and_refuses_further_heavy_work(busy, scans):
    request = {"steps": 60, "num_samples": 2, "store": False}
    pool = ThreadPoolExecutor(CROWD)
    running = {}

    def full() -> bool:
        for name in (f"full-{n}" for n in range(QUEUE_MAX + 1)):  # again where what ran before had not left yet
            if name not in running or (running[name].done() and running[name].result().status_code == 429):
                running[name] = pool.submit(ask, busy, SYNTHESIS, request | {"job": name})
        return states(busy).count("queued") == QUEUE_MAX

    try:
        wait_until(full)
        for path in (f"/zoo/run/{SYNTHESIS}", f"/infer/{SYNTHESIS}"):
            refused(requests.post(busy.url + path, data={"params": "{}"}, timeout=60), 429)
        for path in (f"/activelearning/generate_{SYNTHESIS}", f"/batch/infer/{MAP}?run_sync=true"):
            refused(requests.post(busy.url + path, json={}, timeout=60), 429)
        trained = requests.post(f"{busy.url}/train/{SYNTHESIS}?run_sync=true", json={"epochs": 1}, timeout=60)
        refused(trained, 429)
        assert requests.post(f"{busy.url}/activelearning/first", json={}, timeout=60).status_code == 200
        with open(scans[1], "rb") as file:  # an annotator saves what he has, whoever generates meanwhile
            began = time.monotonic()
            url = f"{busy.url}/datastore/label?image=scan_0&tag=final"
            assert requests.put(url, files={"label": ("a.nii.gz", file)}, timeout=60).status_code == 200
        assert time.monotonic() - began < 3 * light_s()
    finally:
        for name, item in running.items():
            requests.delete(f"{busy.url}/zoo/jobs/{name}", timeout=60)
            item.result()


def test_a_request_that_costs_too_much_is_refused_before_it_waits_and_the_remedy_works(busy):
    before = len(busy.get("/zoo/jobs"))
    sentence = refused(ask(busy, SYNTHESIS, {"num_samples": 64, "steps": 1}))
    assert "8.962 million voxels" in sentence and "cost_max is 1" in sentence
    assert len(busy.get("/zoo/jobs")) == before
    samples = int(sentence.partition("num_samples to ")[2].split()[0].strip(".,"))
    assert samples == 7
    assert ask(busy, SYNTHESIS, {"num_samples": samples, "steps": 1, "store": False}).status_code == 200
    refused(ask(busy, SYNTHESIS, {"num_samples": samples + 1, "steps": 1, "store": False}))


def test_a_training_that_is_waited_for_can_be_cancelled(busy):
    answers: list[requests.Response] = []
    url = f"{busy.url}/train/{SYNTHESIS}?run_sync=true"
    thread = threading.Thread(target=lambda: answers.append(requests.post(url, json={"epochs": 1000}, timeout=120)))
    thread.start()
    wait_until(lambda: any(job["state"] == "running" for job in busy.get("/zoo/jobs")))
    (job,) = [job["id"] for job in busy.get("/zoo/jobs") if job["state"] == "running"]
    time.sleep(2)
    assert json.loads(requests.delete(f"{busy.url}/zoo/jobs/{job}", timeout=60).text)["cancelled"]
    thread.join(timeout=60)
    assert answers and answers[0].status_code == 409, answers


@pytest.mark.parametrize(("text", "good"), [("0", True), ("256", True), ("257", False), ("-1", False), ("many", False)])
def test_the_length_of_the_line_is_an_integer_of_a_range(text, good, monkeypatch):
    from bundle_runs import ROOT

    from synthzoo.errors import UserError

    monkeypatch.syspath_prepend(str(ROOT / "plugins" / "monailabel"))
    from lib.service import integer

    if good:
        assert integer({"queue_max": text}, "queue_max", 16, 0, 256) == int(text)
        return
    with pytest.raises(UserError, match=f"--conf queue_max is '{text}', but must be an integer from 0 to 256"):
        integer({"queue_max": text}, "queue_max", 16, 0, 256)
    assert integer({}, "queue_max", 16, 0, 256) == 16
