"""Workflows run commands that exist and may do no more than they need; forms ask for what helps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import sentry_loopstall

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".github" / "workflows"
Job = dict[str, Any]


def workflow(name: str) -> dict[str, Any]:
    parsed: dict[Any, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    parsed["on"] = parsed.pop(True)  # what YAML 1.1 makes of that word
    return parsed


TEST = workflow("test.yml")
RELEASE = workflow("release.yml")
JOBS: list[Job] = [*TEST["jobs"].values(), *RELEASE["jobs"].values()]


def steps(jobs: list[Job]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        yield from job.get("steps", ())


def test_there_are_these_two() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == ["release.yml", "test.yml"]


def test_changes_are_tested_as_by_hand_and_not_for_ever() -> None:
    assert {"pull_request", "push"} <= set(TEST["on"])
    (job,) = TEST["jobs"].values()
    assert job["timeout-minutes"] == 45
    assert job["steps"][-1] == {"run": "bash .ci/run"}


def test_a_tag_is_published_after_tests_and_build() -> None:
    assert RELEASE["on"] == {"push": {"tags": ["v*"]}}
    jobs = RELEASE["jobs"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    assert "workflow_call" in TEST["on"]
    assert sorted(jobs["publish"]["needs"]) == ["build", "test"]
    assert [step["uses"].split("@")[0] for step in jobs["publish"]["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    kept, fetched = (
        next(step["with"] for step in steps([jobs[job]]) if f"{way}-artifact" in str(step))
        for job, way in (("build", "upload"), ("publish", "download"))
    )
    assert (kept["name"], kept["path"]) == (fetched["name"], fetched["path"]) == ("dist", "dist/")


def test_only_what_publishes_may_ask_for_an_identity() -> None:
    assert TEST["permissions"] == {"contents": "read"}
    assert RELEASE["permissions"] == {}
    publish = RELEASE["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    others = [job for job in JOBS if job is not publish]
    assert all(
        job.get("permissions", {"contents": "read"}) == {"contents": "read"} for job in others
    )
    assert not any("secrets." in path.read_text(encoding="utf-8") for path in FOLDER.iterdir())
    checkouts = [step for step in steps(JOBS) if "actions/checkout" in step.get("uses", "")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_each_action_has_a_version_and_each_job_an_end() -> None:
    used = [step["uses"] for step in steps(JOBS) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+|[0-9a-f]{40})", one) for one in used)
    assert all("timeout-minutes" in job for job in JOBS if "uses" not in job)


def test_each_target_and_script_of_ours_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = "\n".join(step["run"] for step in steps(JOBS) if "run" in step)
    targets = re.findall(r"\bmake ([a-z-]+)", commands)
    assert targets == ["dist"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    assert re.search(
        r"^dist:.*\n(\t.*\n)*\t.* twine check --strict dist/\*$", makefile, re.MULTILINE
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="the step is one of bash")
@pytest.mark.parametrize("tag", ["v{}", "v{}.1", "{}1"])
def test_a_tag_that_is_not_the_version_ends_it(tag: str, tmp_path: Path) -> None:
    version = sentry_loopstall.__version__
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / f"sentry_loopstall-{version}.tar.gz").touch()
    (step,) = [one for one in steps(JOBS) if one.get("name") == "the tag is the version"]
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env={**os.environ, "GITHUB_REF_NAME": tag.format(version)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (tag == "v{}")
    assert (f"sentry_loopstall-{version}.tar.gz" in done.stdout) == (tag != "v{}")


# What an issue is asked for


FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"


def form(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((FORMS / name).read_text(encoding="utf-8"))
    return parsed


def fields(name: str) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in form(name)["body"] if "id" in one}


NAMES = ["1-wrong-report.yml", "2-harm.yml", "3-question-or-idea.yml"]


def test_there_are_these_forms_and_no_issue_without_one() -> None:
    assert sorted(path.name for path in FORMS.iterdir()) == [*NAMES, "config.yml"]
    config = form("config.yml")
    assert config["blank_issues_enabled"] is False
    (link,) = config["contact_links"]
    assert link["url"].endswith("/blob/main/SECURITY.md")


@pytest.mark.parametrize("name", NAMES)
def test_each_form_is_named_and_asks_for_the_context_as_json(name: str) -> None:
    assert form(name)["name"]
    assert form(name)["description"]
    context = fields(name)["context"]["attributes"]
    assert context["render"] == "json"
    assert "`loop_stall`" in context["label"]
    assert any(one.get("validations", {}).get("required") for one in form(name)["body"])


def test_of_a_wrong_event_the_context_is_required() -> None:
    assert fields(NAMES[0])["context"]["validations"] == {"required": True}


@pytest.mark.parametrize("name", NAMES[:2])
def test_versions_are_required(name: str) -> None:
    versions = fields(name)["versions"]
    assert versions["validations"] == {"required": True}
    asked = versions["attributes"]["value"]
    assert all(
        one in asked
        for one in ("sentry-loopstall", "sentry-sdk", "Python", "event loop", "platform")
    )
