// The report: on the screen, as latest.json for machines, as a dated page for people.
import fs from 'node:fs';
import path from 'node:path';
import { BENCH } from './tools.mjs';

const RESULTS = path.join(BENCH, 'results');

export function formatValue(value, unit) {
  if (value === null) return 'not measured';
  if (unit === 'ratio') return value.toFixed(3);
  if (unit === 'ms') return value.toFixed(1);
  return String(value);
}

// Where the median is, with what certainty.
export function intervalText({ low, high, confidence }, digits) {
  if (confidence === 0) return 'one round';
  return `${low.toFixed(digits)}–${high.toFixed(digits)} (${Math.round(confidence * 100)}%)`;
}

// What else is known of a row: the spread of its rounds, or its note.
export function remarkOf({ spread, interval, discarded, disturbed, note }) {
  if (!spread) return note ?? '';
  const parts = [];
  if (interval) parts.push(intervalText(interval, 3));
  else parts.push(`${spread.low.toFixed(3)}–${spread.high.toFixed(3)} (middle half)`);
  parts.push(`${spread.min.toFixed(3)}–${spread.max.toFixed(3)} (all)`, `${spread.rounds} rounds`);
  if (discarded) parts.push(`${discarded} discarded`);
  if (disturbed) parts.push(`${disturbed} DISTURBED`);
  if (note) parts.push(note);
  return parts.join(', ');
}

function align(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => [...row[column]].length)));
  return rows.map((row) => row.map((cell, column) => cell + ' '.repeat(widths[column] - [...cell].length)));
}

function table(rows) {
  const [head, ...body] = align(rows);
  const rule = head.map((cell) => '-'.repeat(cell.length));
  return [head, rule, ...body].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

// The goal lies where the true median may be, too: another run may say otherwise.
const isBarely = (row, goal) => row?.interval !== undefined && row.interval.low <= goal && goal <= row.interval.high;

function goalTable(goals, measured) {
  const rows = goals.map(({ name, value, unit, goal, isLeast, ok }) => [
    name,
    formatValue(value, unit),
    unit,
    `${isLeast ? '≥' : '≤'} ${goal}`,
    `${isBarely(measured.get(name), goal) ? 'barely ' : ''}${ok ? 'kept' : 'missed'}`,
    remarkOf(measured.get(name) ?? {}),
  ]);
  return table([['name', 'value', 'unit', 'goal', 'kept?', 'spread'], ...rows]);
}

function otherTable(rows) {
  const cells = rows.map((row) => [row.name, formatValue(row.value, row.unit), row.unit, remarkOf(row)]);
  return table([['name', 'value', 'unit', 'spread'], ...cells]);
}

const percent = (share) => `${(share * 100).toFixed(1)}%`;

function turnTable({ base, unit, contestants }) {
  const rows = contestants.map(({ title, spread, ratios, idle, rate }) => [
    title,
    spread.median.toFixed(2),
    `${spread.low.toFixed(2)}–${spread.high.toFixed(2)}`,
    ratios.median.toFixed(3),
    `${ratios.low.toFixed(3)}–${ratios.high.toFixed(3)}`,
    Math.round(rate).toString(),
    percent(Math.max(0, idle)),
  ]);
  const figures = [`CPU µs/${unit}`, 'middle half', `ratio to ${base}`, 'middle half', `${unit}s/s`, 'core idle'];
  return table([['contestant', ...figures], ...rows]);
}

// The whole report as Markdown, readable on a terminal too.
// tables: [{title, text: what stands above it, head, rows}] of texts, the scenarios' own.
export function render({ goals, measured, others, tables, turns, machine, versions, date, isQuick }) {
  const { cpu, cores, memory, system, kernel } = machine;
  const parts = [`# Benchmark, ${date}${isQuick ? ' (quick)' : ''}`];
  parts.push(
    [
      `- machine: ${cpu}, ${cores} cores, ${memory}; ${system}, kernel ${kernel}`,
      `- daemun ${versions.daemun}, nginx ${versions.nginx}, haproxy ${versions.haproxy}, OpenSSL ${versions.openssl}`,
    ].join('\n'),
  );
  if (goals.length > 0) parts.push('## Goals', goalTable(goals, measured));
  if (others.length > 0) parts.push('## Also measured', otherTable(others));
  for (const { title, text, head, rows } of tables) parts.push(`## ${title}`, ...(text ? [text] : []), table([head, ...rows]));
  if (turns.length > 0) parts.push('## In turn, each alone on the core');
  for (const table of turns) parts.push(`### ${table.title}`, turnTable(table));
  return `${parts.join('\n\n')}\n`;
}

// Writes latest.json and the dated page. Returns their paths.
export function write(goals, text, date) {
  fs.mkdirSync(RESULTS, { recursive: true });
  const latest = path.join(RESULTS, 'latest.json');
  const page = path.join(RESULTS, `${date}.md`);
  fs.writeFileSync(latest, `${JSON.stringify(goals, null, 2)}\n`);
  fs.writeFileSync(page, text);
  return [latest, page];
}
