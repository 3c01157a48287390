"""Gives the checkout the import names of the wheel: `parley.agent.tools` is the very module `agent.tools`.

The wheel holds its packages under `parley/`; a checkout has them side by side at its root. Users of either write
`from parley.agent.tools import tool`. This file is not part of the wheel.
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__path__: list[str] = []  # makes this module a package; its folders are found by the finder below alone

_PREFIX = f"{__name__}."


class _Alias(MetaPathFinder, Loader):
    """Imports parley.X as the module X."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname.startswith(_PREFIX) else None

    def exec_module(self, module: ModuleType) -> None:
        # Python gives the importer whatever stands in sys.modules when this returns: one module object, two names.
        sys.modules[module.__name__] = import_module(module.__name__.removeprefix(_PREFIX))


# First of all finders: Python's own would load the files again, as other modules.
sys.meta_path.insert(0, _Alias())
