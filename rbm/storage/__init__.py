"""What lies on disk: archives of arrays, the cache folder, and the kinds of things that files hold.

``archive`` writes files whole or not at all and reads nothing but arrays and texts; ``cache`` is the folder of what can
be made again; ``registry`` maps the kinds in files to classes, ours and the user's.
"""

from rbm.storage.registry import Saved, register

__all__ = ["Saved", "register"]
