"""Language tools: what a language model is here, and what is measured of it.

:mod:`ml.language.models` has the protocol and its makers, :mod:`ml.language.debiasing` asks models questions about
groups of people and scores the answers. They are foreign to differential equations, and stand on their own.
"""Tools that measure or serve language: detection of languages, language models, consistency, debiasing.

They stand beside the numerical packages and use nothing of them but the floor. Each is a room of its own; nothing is
imported here.
"""
