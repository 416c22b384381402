"""The compiled online stage; you need not read this to change the method.

:mod:`rbm.online.reference` and :mod:`rbm.online.marching` say in plain arrays what is computed here, and the tests
compare the two. From the top down: `batch_query` solves and certifies, `point_query` does so for one point,
`time_march` for all steps of a trajectory, `interpolated_norm` evaluates E4, `vertices`, `pencil_constants` and
`anchored_constants` are stability bounds, `output_sums` outputs that `batch_query` does not know. `formulas` are the
coefficients, `residuals`, `solvers`, `factors` and `bounds` the inner loops, and `lanes` makes a SIMD register a type
of Numba. `arguments` names the arguments of the kernels, `tile`, `packed_point` and `march_tile` their scratch memory,
`packed` and `packed_point` make them from arrays of a model. `compiler` turns functions into kernels, `memory` makes an
address and a shape of an array inside them, and `kernel_cache` keeps kernels on disk. `translation`, with `sources`,
`expressions` and `values`, is how: it reads functions and writes LLVM's language. `translated` makes a kernel of Numba
of that, `libraries` its machine code, and `parts` is Numba's own way, shortened, for what is not translated.

Each kernel is imported from its own file: a query loads those that it needs.
"""
