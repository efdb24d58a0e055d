"""Wasted bytes of images, by walking their layers with Python's tarfile and nothing of ours.

Usage: wasted.py FOLDER. FOLDER holds a folder for each image, with its layers as 0.tar, 1.tar and so on, lowest first.
Prints one JSON object: for each image the content of all regular files, what of it nothing shows, and the same by layer.
"""

import json
import os
import sys
import tarfile


class Inode:
    """A file's content; `layer` is where it came from."""

    def __init__(self, size, layer, symlink=None):
        self.size, self.layer, self.symlink = size, layer, symlink


DIRECTORY = object()


def parts_of(name):
    parts = []
    for part in name.split("/"):
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def is_hidden_name(path):
    """AUFS bookkeeping: no runtime shows it, but hard links to it count."""
    return any(part.startswith(".wh..wh.") for part in path)


def resolve(path, symlink_at):
    """Follows symlinks in all but the last component."""
    pending, at, hops = list(reversed(path)), (), 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            at = at[:-1]
            continue
        at += (part,)
        target = symlink_at(at) if pending else None
        if target is not None:
            hops += 1
            if hops > 40:
                return None
            at = () if target.startswith("/") else at[:-1]
            pending.extend(reversed(target.split("/")))
    return at


def below(tree, path):
    return [name for name in tree if len(name) > len(path) and name[: len(path)] == path]


class Layer:
    """What one layer says, its own records in order, whatever is below it."""

    def __init__(self, lower, index):
        self.lower, self.index = lower, index
        self.tree, self.whiteouts, self.opaques, self.inodes = {}, set(), set(), []

    def symlink_at(self, path):
        entry = self.tree.get(path)
        return entry.symlink if isinstance(entry, Inode) else None

    def lower_symlink_at(self, path):
        entry = self.lower.get(path)
        return entry.symlink if isinstance(entry, Inode) else None

    def record(self, member):
        path = parts_of(member.name)
        if not path:
            return
        parent = resolve(path[:-1] + ("x",), self.symlink_at)[:-1]
        base = path[-1]
        if base == ".wh..wh..opq":
            self.opaques.add(parent)
        elif base.startswith(".wh.") and not base.startswith(".wh..wh."):
            self.whiteouts.add(parent + (base[4:],))
        elif member.ischr() and (member.devmajor, member.devminor) == (0, 0):
            self.whiteouts.add(parent + (base,))
        else:
            self.put(parent + (base,), member)

    def put(self, path, member):
        entry = self.entry(member)
        for depth in range(1, len(path)):
            if isinstance(self.tree.get(path[:depth]), Inode):
                # A directory after all: what the file had replaced of its own layer stays away.
                del self.tree[path[:depth]]
            self.tree.setdefault(path[:depth], DIRECTORY)
        if entry is not DIRECTORY:
            for name in below(self.tree, path):
                del self.tree[name]
        self.tree[path] = entry

    def entry(self, member):
        if member.isdir():
            return DIRECTORY
        if member.islnk():
            target = resolve(parts_of(member.linkname), self.symlink_at)
            found = self.tree.get(target)
            if found is None:
                found = self.lower.get(resolve(target, self.lower_symlink_at))
            # One that leads nowhere holds nothing.
            return found if isinstance(found, Inode) else Inode(0, self.index)
        size = member.size if member.isreg() else 0
        inode = Inode(size, self.index, member.linkname if member.issym() else None)
        self.inodes.append(inode)
        return inode

    def apply(self):
        tree = self.lower
        for path in self.whiteouts:
            tree.pop(path, None)
        for path in self.whiteouts | self.opaques:
            for name in below(tree, path):
                del tree[name]
        for path in sorted(self.tree, key=len):
            entry = self.tree[path]
            if entry is not DIRECTORY:
                for name in below(tree, path):
                    del tree[name]
            tree[path] = entry


def walk(folder):
    tree, inodes = {}, []
    layers = len(os.listdir(folder))
    for index in range(layers):
        layer = Layer(tree, index)
        with tarfile.open(os.path.join(folder, f"{index}.tar"), "r:", errors="surrogateescape") as tar:
            for member in tar:
                layer.record(member)
        layer.apply()
        inodes.extend(layer.inodes)
    shown = {id(entry) for path, entry in tree.items() if isinstance(entry, Inode) and not is_hidden_name(path)}
    wasted = [inode for inode in inodes if id(inode) not in shown]
    return {
        "unpackedBytes": sum(inode.size for inode in inodes),
        "wastedBytes": sum(inode.size for inode in wasted),
        "byLayer": [sum(inode.size for inode in wasted if inode.layer == index) for index in range(layers)],
    }


def main():
    root = sys.argv[1]
    print(json.dumps({name: walk(os.path.join(root, name)) for name in sorted(os.listdir(root))}))


main()
