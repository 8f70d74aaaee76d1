// What lies below directories.
import fs from 'node:fs';
import path from 'node:path';

export function filesBelow(directory) {
  return fs.readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(directory, entry.name);
    return entry.isDirectory() ? filesBelow(file) : entry.isFile() ? [file] : [];
  });
}

// Files below the directories that hold the text, as it stands or in hexadecimal.
export function filesWith(directories, text) {
  const needles = [Buffer.from(text), Buffer.from(Buffer.from(text).toString('hex'))];
  return directories.flatMap(filesBelow).filter((file) => {
    const content = fs.readFileSync(file);
    return needles.some((needle) => content.includes(needle));
  });
}
