// What a person reads. Colours only on a terminal.
const isColoured = process.stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
const COLUMNS = 110;

function colour(code, text) {
  return isColoured ? `\x1b[${code}m${text}\x1b[0m` : text;
}

export const bold = (text) => colour('1', text);
export const dim = (text) => colour('2', text);
export const green = (text) => colour('32', text);
export const red = (text) => colour('31', text);
export const cyan = (text) => colour('36', text);

export function say(text = '') {
  process.stdout.write(text + '\n');
}

export function heading(text) {
  say();
  say(bold(text));
}

// A word of a shell's line.
export function quoted(text) {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

// A command as a person would type it.
export function command(text) {
  say('    ' + cyan('$ ' + text));
}

// What came back: at most `max` lines, each cut to the width of a page.
export function output(text, max = 12) {
  const lines = text.trimEnd().split('\n');
  for (const line of lines.slice(0, max)) say('    ' + (line.length > COLUMNS ? line.slice(0, COLUMNS - 1) + '…' : line));
  if (lines.length > max) say(dim(`    … and ${lines.length - max} more lines`));
}

export function why(text) {
  say(dim('    ' + text));
}
