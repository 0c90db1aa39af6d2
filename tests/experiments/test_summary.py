import re

import pandas as pd
import pytest

from pulseq_zero.errors import ValidationError
from pulseq_zero.experiments.evaluation import require_scans_agree
from pulseq_zero.experiments.kinds.inversion_time import analytic_null
from pulseq_zero.experiments.summary import comparison, list_table
from pulseq_zero.files.yaml import read_yaml

ABSTRACT = {
    "flair": [
        {"quantity": "TI", "abstract": "2.98 s", "ours": "{ti:.2f} s", "reason": "because"},
        {"quantity": "late", "abstract": "1", "ours": "{at_900}", "reason": "not reached"},
    ],
    "tse": [{"quantity": "SAR", "abstract": "0.57", "ours": "{sar}", "reason": "not run"}],
}


def test_the_comparison_shows_what_a_run_has():
    table = comparison({"flair": {"ti": 3.104}}, ABSTRACT)
    assert table.to_numpy().tolist() == [["FLAIR: TI", "2.98 s", "3.10 s", "because"]]


def test_the_report_shows_the_variants_of_the_default_experiment(root):
    scan = read_yaml(root / "config/experiments/flair_ti.yaml")["scan"]
    rows = read_yaml(root / "workflow/report/abstract.yaml")["flair"]
    shown = {name for row in rows for name in re.findall(r"ti_variants_s\[(.*?)\]", row["ours"])}
    assert shown == set(scan["variants"]["changes"])
    found = {"ti_variants_s": dict.fromkeys(shown, 2.9712)}
    only = {"flair": [row for row in rows if "variants" in row["ours"]]}
    table = comparison({"flair": found}, only)
    assert table["This run"].tolist() == ["2.971 s"] * len(shown)


def test_the_table_is_restructured_text():
    table = list_table(pd.DataFrame({"a": ["1"], "b": ["2"]}))
    assert table == (
        ".. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n   * - 1\n     - 2"
    )


def test_what_is_found_must_be_what_the_scan_found():
    def evaluation(found, tolerance=0.01):
        scan = {"parameter": "TI", "optimum": 3.0, "found": found, "tolerance": tolerance}
        return {"scan": scan}

    require_scans_agree({"a": evaluation(2.98), "b": {}, "c": evaluation(9.0, None)})
    for found in (2.95, 3.05, float("nan")):
        with pytest.raises(ValidationError, match=r"^b found TI = .* more than 1 % away"):
            require_scans_agree({"a": evaluation(3.0), "b": evaluation(found)})


def test_the_null_is_that_of_the_tissue(small_brain):
    for tissue in ("csf", "gm"):
        pool = small_brain.pools[tissue]
        T1 = float(pool.T1[pool.PD.argmax() // 32, pool.PD.argmax() % 32])
        null = analytic_null(small_brain, tissue)
        assert null == pytest.approx(0.693147 * T1, rel=1e-4)
    assert analytic_null(small_brain, "csf") == pytest.approx(0.693147 * 4.3, rel=1e-4)
