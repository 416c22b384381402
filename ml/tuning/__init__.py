"""Training with few numbers, without gradients, and with few bytes of activations.

Adapters train a small part of a network, zeroth-order steps train it at the memory of inference, and derivative codes
keep what backpropagation needs in a few bits a number.
"""
