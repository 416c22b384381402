"""Arithmetic beyond and below double precision, and tall matrices that grow.

``extended`` has sums and products as hi + lo with bounds of their rounding; ``precision`` scales by powers of two and
knows what single precision does; ``columns`` grows a tall matrix without copying it.
"""
