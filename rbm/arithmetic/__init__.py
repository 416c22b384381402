"""Numbers: about twice the working precision, single and double precision, and tall matrices in pieces.

``extended`` has sums and products as hi + lo with bounds of their rounding; ``precision`` scales by powers of two and
knows what single precision does; ``columns`` grows a tall matrix without copying it.
"""
