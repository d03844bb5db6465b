"""Every generator's card holds a privacy audit of the weights that are shipped, and says what was not tested."""

from __future__ import annotations

import pytest
from bundle_runs import ROOT

from synthzoo.bundle.find import find_bundles, read_json, read_metadata
from synthzoo.io.files import sha256
from synthzoo.serving.audit_sources import generates

BUNDLES = [bundle for bundle in find_bundles(ROOT) if generates(read_metadata(bundle)["synthzoo"])]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_generator_was_audited_as_it_is_shipped(bundle):
    path = bundle / "docs" / "privacy.json"
    remedy = f"run python scripts/audit.py --bundle {bundle.name} --to_card, then make index"
    assert path.is_file(), f"{path} does not exist: {remedy}"
    report = read_json(path)
    assert report["weights_sha256"] == sha256(bundle / "models" / "model.pt"), f"{path} is of other weights: {remedy}"
    assert f"--bundle {bundle.name} " in report["command"] and report["not_tested"] and "holdout" in report["sets"]
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert f"Privacy audit: {report['verdict']}; " in card, f"{bundle.name}: the card is stale; make index"
