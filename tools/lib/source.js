// Reading C sources for the checkers: which files there are, and their text without comments.
'use strict';
const fs = require('fs');
const path = require('path');

// The .c and .h files below the given folders of root, sorted, with '/' between names.
function listSources(root, folders) {
  const found = [];
  const visit = (dir) => {
    for (const entry of fs.readdirSync(path.join(root, dir), { withFileTypes: true })) {
      const name = path.posix.join(dir, entry.name);
      if (entry.isDirectory() && entry.name !== 'node_modules') visit(name);
      else if (entry.isFile() && /\.[ch]$/.test(name)) found.push(name);
    }
  };
  folders.filter((folder) => fs.existsSync(path.join(root, folder))).forEach(visit);
  return found.sort();
}

const COMMENT_OR_LITERAL = /\/\*[^]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;

// The text with comments blanked out; lines stay where they are.
function withoutComments(text) {
  return text.replace(COMMENT_OR_LITERAL, (t) => (t[0] === '/' ? t.replace(/[^\n]/g, ' ') : t));
}

// And with string and character literals emptied.
function codeOnly(text) {
  return text.replace(COMMENT_OR_LITERAL, (t) => (t[0] === '/' ? t.replace(/[^\n]/g, ' ') : t[0] + t[0]));
}

module.exports = { listSources, withoutComments, codeOnly };
