"""The online stage: small dense arrays, all parameter points of a batch at once.

reference    the definition, in plain array operations; what runs where the arrays are CuPy's
compiled     the same for NumPy arrays: plans the calls of compiled code, and keeps the arrays in its order
forms        what estimators, stability bounds and outputs tell the compiled code
kernels      the compiled code; you need not read it to change the method
compilation  how long compiling took
batches      rows that fail, answers so far; chunks: how many points at once; threads
"""
