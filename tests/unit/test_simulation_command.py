"""`queueworker simulate`: its figures, its pictures, and one line for what is wrong."""

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_process import run_here
from docsnippets import ROOT, code_in, rows_of
from simulation_world import job, trace

from queueworker_operator.simulation import tracefile
from queueworker_operator.simulation.operator import NEW_YEAR

QUEUEWORKER = """
apiVersion: queueworker.dev/v1alpha1
kind: QueueWorker
metadata: {{name: {name}}}
spec:
  queues: [{{name: mail, concurrency: 4}}]
  redis: {{host: redis.mail.svc}}
  worker: {{image: registry.example/mail:1}}
  {scaling}
"""
SCALED = "autoscaling: {minReplicas: 0, maxReplicas: 10}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "qw.yaml"
    path.write_text(QUEUEWORKER.format(name="mail", scaling=SCALED))
    return path


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    jobs = [job(i / 5, queue="mail", service=2.0 if i % 2 else None) for i in range(200)]
    path.write_text("\n".join(tracefile.dump(trace(*jobs, seconds=240))))
    return path


def test_it_prints_figures_and_a_chart_of_ours_beside_keda_and_the_optimum(file, recorded):
    done = run_here(None, "simulate", "-f", str(file), "--trace", str(recorded))
    assert done.returncode == 0, done.stderr
    header, *rows = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()]
    assert header == ["FIGURE", "ours", "KEDA", "KEDA, active too", "optimum"]
    assert [row[0] for row in rows[:6]] == ["P50", "P95", "P99", "MAX", "OVER TARGET", "POD-SECONDS"]
    assert max(map(len, done.stdout.splitlines()[:14])) <= 80
    assert "█" in done.stdout
    assert "200 jobs in 240 s" in done.stdout
    assert done.stderr == ""


def test_the_same_seed_gives_the_same_figures_and_another_gives_others(file):
    command = ("simulate", "-f", str(file), "--pattern", "spiky", "--duration", "2m", "--rate", "3", "-o", "json")
    one, same, other = (run_here(None, *command, "--seed", seed) for seed in ("1", "1", "2"))
    assert one.returncode == 0, one.stderr
    assert one.stdout == same.stdout
    assert one.stdout != other.stdout
    found = json.loads(one.stdout)
    assert found.keys() == {
        *(
            "jobs",
            "seconds",
            "gaps",
            "left_out",
            "seed",
            "start_up_seconds",
            "ours",
            "keda",
            "keda_with_active",
            "keda_tuned",
        ),
        *("optimum", "times_optimum"),
    }
    assert found["ours"]["jobs"] == found["jobs"] > 0
    assert found["ours"]["waits"].keys() == {"p50", "p95", "p99", "longest"}
    assert found["optimum"]["pod_seconds"] <= found["ours"]["pod_seconds"]
    assert found["keda"]["settings"]["polling_interval"] == 30
    assert found["keda_tuned"] is None


def test_keda_is_tuned_where_that_is_asked_for(file, recorded):
    done = run_here(None, "simulate", "-f", str(file), "--trace", str(recorded), "--tune", "-o", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["keda_tuned"]["settings"]["polling_interval"] == 1
    assert found["keda_tuned"]["pod_seconds"] <= found["ours"]["pod_seconds"]


@pytest.mark.timeout(300)  # The first time ever, matplotlib is compiled.
def test_a_chart_is_written_as_png(file, recorded, tmp_path):
    picture = tmp_path / "chart.png"
    done = run_here(None, "simulate", "-f", str(file), "--trace", str(recorded), "--chart", str(picture))
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")


def test_without_matplotlib_a_chart_is_refused_before_the_simulation(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run_here(None, "simulate", "-f", str(file), "--pattern", "burst", "--chart", str(tmp_path / "chart.png"))
    assert (done.returncode, done.stdout) == (2, "")
    message = "--chart needs matplotlib: pip install 'queueworker-operator[charts]', or leave the option out"
    assert done.stderr == f"error: {message}\n"


def test_several_queues_and_several_queueworkers_are_told_apart(tmp_path):
    two = QUEUEWORKER.format(name="mail", scaling=SCALED) + "---" + QUEUEWORKER.format(name="video", scaling=SCALED)
    file = tmp_path / "qw.yaml"
    file.write_text(two.replace("[{name: mail, concurrency: 4}]", "[{name: mail}, {name: sms, concurrency: 2}]"))
    command = ("simulate", "-f", str(file), "--pattern", "ramp", "--duration", "2m", "--rate", "2", "-o", "json")
    done = run_here(None, *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {file} has the QueueWorkers mail, video: choose one by --name\n"
    done = run_here(None, *command, "--name", "video")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ours"]["never_started"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of --trace and --pattern is needed: what was recorded, or a made-up load"),
        (
            ("--pattern", "ramp", "--trace", "{trace}"),
            "--trace and --pattern exclude each other: what was recorded, or a made-up load",
        ),
        (("--trace", "{trace}", "--rate", "3"), "--rate belongs to --pattern: a trace has its own"),
        (("--trace", "{missing}"), "{missing}: cannot be read: No such file or directory"),
        (("--trace", "{file}"), '{file}, line 1: is no header of a trace: {{"trace": "queueworker", "version": 1, …}}'),
        (("--trace", "{other}"), "{other} has jobs of sms, which spec.queues does not name"),
        (("--trace", "{many}"), "{many} has jobs of q0, q1, q2 and 7 more queues, which spec.queues does not name"),
        (("--trace", "{empty}"), "the load has no jobs: record or simulate for longer"),
        (("--trace", "{blob}"), '{blob}, line 1: is no header of a trace: {{"trace": "queueworker", "version": 1, …}}'),
        (("--pattern", "ramp", "--duration", "32d"), "--duration: a pattern takes at most 31d"),
        (("--pattern", "ramp", "--name", "video"), "{file} has no QueueWorker video, but mail"),
        (("--pattern", "ramp", "--duration", "5s"), "--duration: a pattern takes at least 60s"),
        (("--pattern", "ramp", "--rate", "9999"), "that makes more than 1 000 000 jobs: lower --rate or --duration"),
        (("--pattern", "ramp", "--chart", "a.jpg"), "--chart a.jpg: the picture is a PNG, so the name ends with .png"),
        (
            ("--pattern", "ramp", "--chart", "{missing}/a.png"),
            "--chart {missing}/a.png: there is no directory {missing}",
        ),
    ],
)
def test_what_cannot_be_simulated_is_one_line_and_code_2(arguments, message, file, recorded, tmp_path):
    other, empty = tmp_path / "other.jsonl", tmp_path / "empty.jsonl"
    other.write_text("\n".join(tracefile.dump(trace(job(1, queue="sms")))))
    empty.write_text("\n".join(tracefile.dump(trace())))
    many, blob = tmp_path / "many.jsonl", tmp_path / "blob.jsonl"
    many.write_text("\n".join(tracefile.dump(trace(*(job(1, queue=f"q{n}") for n in range(10))))))
    blob.write_text("[" * 200_000)
    places = {
        "file": file,
        "trace": recorded,
        "other": other,
        "empty": empty,
        "many": many,
        "blob": blob,
        "missing": tmp_path / "missing",
    }
    done = run_here(None, "simulate", "-f", str(file), *(one.format(**places) for one in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message.format(**places)}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--start-up", "inf"), "'--start-up': Input should be less than or equal to 86400"),
        (("--start-up", "nan"), "'--start-up': Input should be less than or equal to 86400"),
        (("--start-up", "-1"), "'--start-up': Input should be greater than or equal to 0"),
        (("--service", "1e300"), "'--service': Input should be less than or equal to 86400"),
        (("--rate", "inf"), "that makes more than 1 000 000 jobs: lower --rate or --duration"),
        (("--duration", "9" * 400 + "d"), "write for example 500ms, 30s, 5m, 2h or 7d"),
    ],
)
def test_a_number_out_of_reach_is_refused_with_code_2(arguments, told, file):
    done = run_here(None, "simulate", "-f", str(file), "--pattern", "burst", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.rstrip().endswith(told)


def test_what_was_not_simulated_is_told(file, tmp_path):
    path = tmp_path / "trace.jsonl"
    jobs = [job(0.1, queue="mail", service=9000), *(job(n / 10, queue="mail", service=9000) for n in range(60))]
    path.write_text("\n".join(tracefile.dump(trace(*jobs, job(1, queue="mail", due=90_000), seconds=6))))
    done = run_here(None, "simulate", "-f", str(file), "--trace", str(path))
    assert done.returncode == 0
    assert done.stderr == (
        "warning: ours never started 21 jobs, not even in the hour after: see maxReplicas and the limits\n"
        "warning: 1 delayed job left out that falls due more than an hour after the end\n"
    )


LIMITED = [
    ("queues: [{{name: mail, concurrency: 4, limiter: {{max: 2, durationMilliseconds: 1000}}}}]", SCALED),
    ("queues: [{{name: mail, concurrency: 4}}]", SCALED[:-1] + ", throughputLimit: {jobs: 120, periodSeconds: 60}}"),
]


@pytest.mark.parametrize(("queues", "scaling"), LIMITED, ids=["limiter", "throughputLimit"])
def test_load_that_is_made_up_keeps_within_the_limits_of_the_spec(queues, scaling, tmp_path):
    file = tmp_path / "qw.yaml"
    text = QUEUEWORKER.replace("queues: [{{name: mail, concurrency: 4}}]", queues)
    file.write_text(text.format(name="mail", scaling=scaling))
    command = ("simulate", "-f", str(file), "--pattern", "burst", "--duration", "1m", "-o", "json")
    done = run_here(None, *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["jobs"] == 3 * 24, "60 % of two a second, for twenty seconds, at 0:15, 0:30, 0:45"
    done = run_here(None, *command, "--rate", "5")
    limit, who = ("its limiter", "mail") if "limiter" in queues else ("throughputLimit", "the load")
    told = f"warning: {who} has 5 jobs a second on average, and {limit} lets 2 begin: waits grow and grow\n"
    assert done.stderr == told


def test_the_page_tells_when_a_pattern_begins():
    page = " ".join((ROOT / "docs/simulate.md").read_text().split())
    begin = datetime.fromtimestamp(NEW_YEAR, UTC)
    assert f"A pattern begins on {begin:%A, {begin.day} %B %Y}, at {begin:%H:%M} UTC" in page


def test_a_fixed_number_is_nothing_to_simulate(tmp_path):
    file = tmp_path / "qw.yaml"
    file.write_text(QUEUEWORKER.format(name="mail", scaling="replicas: 3"))
    done = run_here(None, "simulate", "-f", str(file), "--pattern", "ramp")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {file}: spec.replicas fixes the number, so there is nothing to simulate: set autoscaling\n"
    )


def test_the_page_names_every_option():
    page = (ROOT / "docs/simulate.md").read_text()
    told = {code for row in rows_of(page) for code in code_in(row[0]) if code.startswith("-")}
    shown = run_here(None, "simulate", "--help").stdout
    options = {found[-1] for found in re.findall(r"^\s+(?:(-\w), )?(--[\w-]+)", shown, re.MULTILINE)}
    # What the examples of the page show needs no row.
    assert options - told == {"--file", "--name", "--trace", "--output", "--help"}
    assert told - options == {"-o json"}
