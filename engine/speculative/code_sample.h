// A piece of source code for the prompts of the class "code": how much of it a draft foresees says
// what speculation is worth to someone who writes programs.
#pragma once

namespace fettle {

inline constexpr const char* kCodeSample = R"(class Inventory:
    """Counts of items by name, with a limit for each shelf."""

    def __init__(self, limit=100):
        self.limit = limit
        self.items = {}
        self.shelves = []

    def add(self, name, count=1):
        if count < 0:
            raise ValueError("count must not be negative")
        total = self.items.get(name, 0) + count
        if total > self.limit:
            raise ValueError("no room for " + name)
        self.items[name] = total
        return total

    def remove(self, name, count=1):
        if count < 0:
            raise ValueError("count must not be negative")
        total = self.items.get(name, 0) - count
        if total < 0:
            raise ValueError("not enough of " + name)
        self.items[name] = total
        return total

    def total(self):
        return sum(self.items.values())


def read_inventory(path, limit=100):
    inventory = Inventory(limit)
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, count = line.strip().split(",")
            inventory.add(name, int(count))
    return inventory


def write_inventory(inventory, path):
    with open(path, "w", encoding="utf-8") as file:
        for name, count in sorted(inventory.items.items()):
            file.write(name + "," + str(count) + "\n")


def merge(first, second):
    merged = Inventory(max(first.limit, second.limit))
    for inventory in (first, second):
        for name, count in inventory.items.items():
            merged.add(name, count)
    return merged


def test_add_and_remove():
    inventory = Inventory(limit=10)
    assert inventory.add("bolt", 4) == 4
    assert inventory.add("bolt", 3) == 7
    assert inventory.remove("bolt", 5) == 2
    assert inventory.total() == 2
)";

}  // namespace fettle
