"""Figures of estimates, parameters and solutions (matplotlib, extra `plots`)."""
