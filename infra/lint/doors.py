"""An import contract of our own: a room of `pipelines` is entered by its door, `pipelines/<room>/__init__.py`, only."""

from __future__ import annotations

from typing import ClassVar

import grimp
from importlinter import Contract, ContractCheck, fields, output


class Doors(Contract):
    """No module imports another room's inner module, nor its own room's door, which is not open yet while it is imported."""

    type_name: ClassVar[str] = "doors"
    root = fields.StringField()

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        """Broken where an import leads past a door, with the lines."""
        past = [
            f"{found['importer']}:{found['line_number']} imports {found['imported']}"
            for importer in sorted(graph.modules)
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if self._is_past_a_door(importer, imported)
            or (imported == _room(importer) and imported not in (importer, self.root))
            for found in graph.get_import_details(importer=importer, imported=imported)
        ]
        return ContractCheck(kept=not past, metadata={"past": past})

    def _is_past_a_door(self, importer: str, imported: str) -> bool:
        inner = imported.startswith(f"{self.root}.") and imported.count(".") > 1
        return inner and _room(importer) != _room(imported)

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["past"]:
            output.print_error(f"{line}: others enter a room by its door, its own modules import each other")


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])
