"""The online stage: small dense arrays, all parameter points of a batch at once.

reference    the definition, in plain array operations; what runs where the arrays are CuPy's
compiled     the same for NumPy arrays: packs the arrays for compiled code and calls it
forms        estimators, stability bounds and outputs as the compiled code knows them
kernels      the compiled code; you need not read it to change the method
compilation  the time that compiling took
batches      batches of any size, rows that fail, answers so far
chunks       how many points at once
threads      threads that work off the pieces of a batch
triangles    QR factorisations of many small matrices on a device
"""
