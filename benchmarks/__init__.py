"""Times and accuracies beside pyMOR, measured in one run: ``python -m benchmarks [offline|online|eim ...]``.

Each module has ``run() -> dict`` (plain numbers, ready for JSON) and ``table(result) -> str``.
"""
