#!/usr/bin/env python3
"""Writes the migrations (NNNN_name.sql, in order, without gaps) as a C array: embed.py OUT FILE..."""
import pathlib
import sys


def c_string(text):
    lines = text.splitlines(keepends=True)
    escaped = (line.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n') for line in lines)
    return '\n'.join(f'     "{line}"' for line in escaped)


def main(out, files):
    paths = sorted(map(pathlib.Path, files), key=lambda path: path.name)
    entries = []
    for number, path in enumerate(paths, 1):
        version, name = path.stem.split('_', 1)
        if int(version) != number:
            sys.exit(f'{path}: expected number {number:04}')
        entries.append(f'    {{{number}, "{name}",\n{c_string(path.read_text())}}},')
    body = '\n'.join(entries)
    pathlib.Path(out).write_text(
        '#include "control/store/migrate.h"\n\n'
        f'const struct dm_migration dm_migrations[] = {{\n{body}\n}};\n'
        f'const int dm_migrations_count = {len(entries)};\n')


main(sys.argv[1], sys.argv[2:])
