"""Work that is done by the workers of an executor: threads, processes, or machines of a cluster.

Anything with the interface of ``concurrent.futures`` will do: engines that exist do the distributing. ``crew`` sends
tasks and takes their results in order, ``parcels`` is what travels, ``engines`` what is known of single engines.
"""

from rbm.workers.crew import Crew, Round

__all__ = ["Crew", "Round"]
