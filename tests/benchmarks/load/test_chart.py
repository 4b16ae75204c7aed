"""The chart of a run: nothing is clipped, whatever the result, and it names the plan and what went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.latency import Counts
from benchmarks.load.records import ActionResult, Errors, Line, StageRecord
from tests.benchmarks.load.sample_records import run_line, second_line, whole_run
from tokensvc.jose.keypair import PrivateKey

pytest.importorskip("matplotlib", reason="matplotlib comes with the benchmarks: make bench-packages")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from benchmarks.load import result_store
from benchmarks.load.chart import Chart

pytestmark = pytest.mark.long

CODES = [f"50{number} a_code_with_a_rather_long_name_{number}_that_goes_on" for number in range(8)]
STAGES = (
    StageRecord(seconds=2, from_rate=0, to_rate=4000),
    StageRecord(seconds=30, from_rate=4000, to_rate=4000),
)


def draw(lines: list[Line]) -> tuple[Chart, list[Text]]:
    """Draw the chart; the chart and its visible texts."""
    report = result_store.report_of(lines)
    picture = Chart(report.result, report.totals)
    FigureCanvasAgg(picture._figure).draw()
    found: list[Text] = picture._figure.findobj(Text)  # type: ignore[assignment,unused-ignore]
    return picture, [text for text in found if text.get_visible() and text.get_text()]


def visible_text(lines: list[Line]) -> str:
    return "\n".join(text.get_text() for text in draw(lines)[1])


def failing_run(counts: dict[str, int], latencies: Counts) -> list[Line]:
    """A run whose requests fail with these errors, and with these latencies if they timed out."""
    errors, number = Errors(counts={code: 2 * count for code, count in counts.items()}), sum(counts.values())
    seconds = [
        second_line(at, completed=0, tokens=0, failed=number, errors=counts, latencies=latencies) for at in (1, 2)
    ]
    return [run_line(title="a plan"), *seconds, errors]


RUNS: dict[str, list[Line]] = {
    "nothing counted": [run_line(seconds=0.5, interrupted=True)],
    "not started": [run_line(seconds=0, failures=("http://127.0.0.1:1 cannot be reached: Connection refused",))],
    "nothing sent": [run_line()],
    "all rejected": failing_run({"401 unauthenticated": 10}, {}),
    "all timed out": failing_run({"timeout": 10}, {10_000_000: 10}),
    "many codes": failing_run(dict.fromkeys(CODES, 3), {}),
    "latencies of 0": [run_line(), second_line(1, latencies={0: 10})],
    "long": [
        run_line(
            title="a title that goes on and on " * 5,
            url="https://tokens.staging.example.com/" + "base/" * 20,
            machine={"cpu": "AMD EPYC 7763 64-Core Processor with a name " * 4},
            stages=STAGES,
            seconds=32,
            failures=("a failure that is long as well " * 20, *("another",) * 9),
        ),
        *(second_line(number, latencies={100: 5, 3_000_000: 1}) for number in range(1, 32)),
        *(
            ActionResult(command="tokensvc keys rotate " * 5, at_seconds=at, took_seconds=2, exit_code=at % 2)
            for at in (1, 2, 3, 16, 30, 31)
        ),
    ],
}


@pytest.mark.parametrize("name", RUNS)
def test_the_chart_of_any_run_clips_nothing(name: str) -> None:
    picture, texts = draw(RUNS[name])
    page = picture._figure.bbox
    for text in texts:
        box = text.get_window_extent()
        if "\n" not in text.get_text() and box.width > 0:
            inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
            assert inside, f"clipped: {text.get_text()}"


@pytest.mark.parametrize("name", RUNS)
def test_no_legend_covers_a_title(name: str) -> None:
    for axes in draw(RUNS[name])[0]._figure.axes:
        title = axes.set_title(axes.get_title(loc="left"), loc="left").get_window_extent()
        legend = axes.get_legend()
        assert legend is None or not title.overlaps(legend.get_window_extent()), axes.get_title(loc="left")


def test_the_heading_names_the_plan_its_rate_and_the_target() -> None:
    heading = visible_text([run_line(title="a peak", stages=STAGES, scale=2.5, seconds=32), second_line(1)])
    assert "load: steady (a peak)\n0 to 4,000 requests/s for 32 s (1 s warm-up), scale 2.5\n" in heading
    assert "http://127.0.0.1:1 · 2027-01-15 08:00 UTC · a cpu" in heading


def test_stages_and_actions_are_marked(private_key: PrivateKey) -> None:
    action = ActionResult(command="tokensvc keys rotate", at_seconds=1.5, took_seconds=0.5, exit_code=4)
    text = visible_text([*whole_run(private_key, stages=STAGES), action])
    assert "0 → 4,000/s" in text
    assert "tokensvc keys rotate (exit code 4)" in text
    assert "4,000/s" in text.replace("0 → 4,000/s", "")


def test_errors_are_shown_by_their_code_and_count(private_key: PrivateKey) -> None:
    assert "401 unauthenticated: 20" in visible_text(RUNS["all rejected"])
    many = visible_text(RUNS["many codes"])
    assert "3 more: 18" in many
    assert f"{CODES[0][:31]}…: 6" in many
    assert "by code" not in visible_text(whole_run(private_key)), "no panel without errors"


def test_a_run_without_latencies_has_no_logarithmic_axis() -> None:
    picture, _ = draw(RUNS["all rejected"])
    assert {axes.get_yscale() for axes in picture._figure.axes} == {"linear"}
    assert "no latency was measured" in visible_text(RUNS["all rejected"])


def test_the_chart_shows_why_a_run_failed() -> None:
    assert "FAILED RUN: no request succeeded; most frequent: timeout" in visible_text(RUNS["all timed out"])


def test_the_same_result_is_drawn_as_the_same_file(tmp_path: Path, private_key: PrivateKey) -> None:
    def saved(name: str) -> Any:
        report = result_store.report_of(whole_run(private_key))
        Chart(report.result, report.totals).save(tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert saved("a.svg") == saved("b.svg")
