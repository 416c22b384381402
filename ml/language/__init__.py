"""Language tools: what serves language, and what is measured of language models.

:mod:`ml.language.detection` says which language words are written in; :mod:`ml.language.models` has the protocol of a
language model and its makers; :mod:`ml.language.consistency` scores how far several answers of one contradict each
other, :mod:`ml.language.debiasing` what it answers about groups of people. They are foreign to differential equations
and use nothing of the other packages but lowrank's ground floor. Nothing is imported here.
"""
