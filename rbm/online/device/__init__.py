"""The fused query of a GPU: one kernel from parameter points to bounds, for systems of up to 64 unknowns.

*.cu      CUDA C++: numbers, reduced systems, residual norms, and the kernel, in this order
source    the text of the kernel for a precision, and the shared memory of a block
packing   a reduced model as two arrays
launch    the kernel compiled and called through CuPy

:mod:`rbm.online.reference` is the definition of what is computed, and docs/online.md tells how.
"""

from rbm.online.device.launch import FusedModel, cupy_of

__all__ = ["FusedModel", "cupy_of"]
