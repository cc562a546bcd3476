"""The package that packs import as `comfy`: modules below are thin forms of Weft's own functions.

Every module is reachable as an attribute without being imported first; what is not here is answered by a stand-in.
"""

from nodes.placeholders import install, submodules

install()
__getattr__ = submodules(__name__)
