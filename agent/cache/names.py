"""Labels and cameras of a cache: a record carries their numbers, the journal says what they are called."""

from agent.cache.journal import Entry

MOST = 1 << 16


class Names:
    """Names and their numbers, each in the order in which they came."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.cameras: dict[str, int] = {}

    def apply(self, entry: Entry) -> None:
        """Let an entry of the journal take effect; entries about other things are passed."""
        if entry["op"] == "label":
            self.labels[entry["name"]] = entry["label"]
        elif entry["op"] == "camera":
            self.cameras[entry["name"]] = entry["camera"]
        elif entry["op"] == "rename":
            self.labels = {
                entry["name"] if index == entry["label"] else name: index for name, index in self.labels.items()
            }

    def of_kind(self, kind: str) -> dict[str, int]:
        return self.labels if kind == "label" else self.cameras

    def by_label(self) -> dict[int, str]:
        return {index: name for name, index in self.labels.items()}

    def only(self, labels: set[int], cameras: set[int]) -> "Names":
        """Those of these numbers."""
        left = Names()
        left.labels = {name: index for name, index in self.labels.items() if index in labels}
        left.cameras = {name: index for name, index in self.cameras.items() if index in cameras}
        return left

    def as_entries(self) -> list[Entry]:
        labels = [{"op": "label", "label": index, "name": name} for name, index in self.labels.items()]
        return labels + [{"op": "camera", "camera": index, "name": name} for name, index in self.cameras.items()]
