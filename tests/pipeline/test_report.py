"""What comes from outside is text in the report: no markup, no template, no script."""

import html
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pandas as pd
import pytest
from docutils.core import publish_parts

from pulseq_zero.experiments.summary import as_text, list_table

HOSTILE = {
    "a directive": ".. raw:: html\n\n   <script>alert(1)</script>",
    "an included file": "\n\n.. include:: /etc/passwd\n\n",
    "a remote image": "x\n\n.. image:: https://example.org/a.png\n",
    "a link": "https://example.org or `here <https://example.org>`_ or me@example.org or word_",
    "a template": "{{ 7 * 7 }} {% for x in [1, 2] %}{{ x }}{% endfor %} {# gone #}",
    "markup": "*a* **b** ``c`` |d| [1]_ _`e` :math:`f` a__ \\g 1. - + # :h: >>> ::",
    "HTML": "<img src=x onerror=alert(1)> </script> &lt; \"'",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("place", ["start {}", "{}", "in the {} midst", "* {}", "(a = {})"])
def test_text_stays_text(text, place):
    """As a reader sees it, and without any element that does something."""
    rendered = jinja2.Environment().from_string(place.format(as_text(text))).render()
    found = publish_parts(rendered, writer_name="html")["body"]
    plain = publish_parts(place.format("TEXT"), writer_name="html")["body"]
    expected = " ".join(text.split())
    assert html.unescape(found).split() == plain.replace("TEXT", expected).split()


def test_cells_of_tables_are_text():
    table = pd.DataFrame({"Phantom": list(HOSTILE.values()), "NRMSE": 0.5})
    found = publish_parts(list_table(table), writer_name="html")["body"]
    assert found.count("<tr>") == 1 + len(HOSTILE)
    for element in ("<script", "<img", "<a ", "<em>", "problematic", "system-message"):
        assert element not in found


@pytest.mark.parametrize("caption", ["experiment", "sweep", "robustness"])
def test_captions_take_only_what_is_text(root, caption):
    """Each of their params is text already, or the name of a function, which has few characters."""
    params = {
        "experiment": {"figure": "history", "loss": {"function": "losses/mine.py:mine"}},
        "noise": {"count": 3, "snr": 30.0},
        **dict.fromkeys(("loss_settings", "variants", "swept", "caption", "region"), "TEXT"),
    }
    snakemake = SimpleNamespace(
        params=SimpleNamespace(**params),
        wildcards=SimpleNamespace(experiment="mine", sweep="mine"),
    )
    template = (root / f"workflow/report/{caption}.rst").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    assert "TEXT" in environment.from_string(template).render(snakemake=snakemake)


def made(root: Path, folder: Path, end: int) -> subprocess.CompletedProcess[str]:
    """Make a report of hostile JSON by a Snakemake that ends with some code."""
    program = (
        "import json, sys, report, yaml\n"
        "from pathlib import Path\n"
        "text = {'title': '</script><script>alert(1)</script>'}\n"
        "def main(arguments):\n"
        "    given = dict(zip(arguments[::2], arguments[1::2]))\n"
        "    assert yaml.safe_load(Path(given['--configfile']).read_text()) == text\n"
        "    Path(given['--report']).write_text(json.dumps(text, indent=1))\n"
        "    print('no pygments')\n"
        "    sys.exit(int(sys.argv[1]))\n"
        "report.main = main\n"
        "report.make('Snakefile', text, Path('page.html'), Path('report.log'))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(end)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{root}/src{os.pathsep}{root}/workflow/scripts"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_json_inside_of_the_page_cannot_end_a_script(root, tmp_path):
    done = made(root, tmp_path, 0)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "page.html").read_text()
    assert "<" not in page
    assert json.loads(page) == {"title": "</script><script>alert(1)</script>"}


def test_where_there_is_no_report_its_log_is_named_and_the_old_one_stays(root, tmp_path):
    (tmp_path / "page.html").write_text("old")
    done = made(root, tmp_path, 1)
    assert done.returncode == 1
    assert done.stderr == "There is no report; report.log says why\n"
    assert "no pygments" in (tmp_path / "report.log").read_text()
    assert (tmp_path / "page.html").read_text() == "old"
