"""Tools that measure or serve language: detection of languages, language models, consistency, debiasing.

They stand beside the numerical packages and use nothing of them but the floor. Each is a room of its own; nothing is
imported here.
"""
