"""What tests share: models, oracles, spectra, array modules; and where the repository and the stored data are."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
