"""The online stage: small dense arrays, all parameter points of a batch at once.

reference   the definition, in plain array operations; the kernel of other array libraries (CuPy)
compiled    the same for NumPy arrays, through the Numba kernels: plans what to call, keeps the arrays packed
  forms       what estimators, stability bounds and outputs tell the kernels
  packed      the arrays in the order of the inner loops
  kernels     the two functions that are compiled and cached: query, interpolated
  residuals   residual coefficients, norms and floors of a tile
  solvers     L D L^H, LU and QR across lanes
  lanes       the SIMD register as a Numba type
batches     pieces, threads, rows that fail
"""
