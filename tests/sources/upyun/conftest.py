"""What the tests of sources share."""

import importlib.util
import pathlib
import sys

# The suite imports test modules by path; this one is a library of theirs.
_NAME = "listing_world"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, pathlib.Path(__file__).with_name(f"{_NAME}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)
