"""What comes from outside is text in the report: no markup, no template, no script."""

import html
import json
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


def test_json_inside_of_the_page_cannot_end_a_script(root):
    program = (
        "import runpy, sys, json, snakemake.cli\n"
        "text = {'title': '</script><script>alert(1)</script>'}\n"
        "def main(arguments):\n"
        "    made = json.dumps(text, indent=1)\n"
        "    assert '<' not in made and json.loads(made) == text, made\n"
        "snakemake.cli.main = main\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    script = root / "workflow/scripts/report.py"
    subprocess.run([sys.executable, "-c", program, str(script)], check=True)
    assert json.dumps("<") == '"<"'
    assert Path(script).name in (root / "workflow/rules/report.smk").read_text(encoding="utf-8")
